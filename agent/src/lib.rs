//! The waysteer agent: learns the mesh, compiles it into BPF maps, attaches the kernel programs.

pub mod compile;
pub mod config;
pub mod model;
pub mod source;
pub mod tunnel;
