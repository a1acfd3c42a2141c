//! Real sockets of real network namespaces, with the agent in between.

pub(crate) mod classes;
mod services;
