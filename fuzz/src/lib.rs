//! What the fuzz targets try, apart from libFuzzer.
//!
//! `cargo xtask fuzz` runs the targets.

mod follow;
pub mod mesh;
pub mod packet;
pub mod seeds;
pub mod xds;
