//! Client against server, over loopback.

mod peer;
mod pool;
mod resets;
mod streams;
mod support;
mod tls;
