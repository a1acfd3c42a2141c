//! Others on the hooks that we use: they keep working and keep their order, ours come first where
//! that matters, and where they cannot it is said.

mod connect;
mod packets;
