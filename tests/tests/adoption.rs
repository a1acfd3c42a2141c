//! What an agent leaves in the kernel, and what the next one makes of it.

mod cleanup;
mod crash;
mod generations;
pub(crate) mod look;
mod mesh;
mod pods;
