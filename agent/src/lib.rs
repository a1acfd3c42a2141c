//! The waysteer agent: learns the mesh, compiles it into BPF maps, attaches the kernel programs.

pub mod model;
