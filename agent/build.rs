//! Generates the messages of `proto`, and embeds the kernel programs' object, where `cargo xtask
//! build-ebpf` has left one.
//!
//! Neither root nor a bpf toolchain is needed here: without an object the agent still builds, and
//! says what is missing when it is asked to load one.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// An object at another place.
const OVERRIDE: &str = "WAYSTEER_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(embedded_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    generate()?;
    let Some(object) = find()? else {
        return Ok(());
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    fs::copy(&object, out.join("waysteer.o"))
        .map_err(|error| format!("cannot embed {}: {error}", object.display()))?;
    println!("cargo::rustc-cfg=embedded_object");
    Ok(())
}

/// In pure Rust, so that no protoc is needed.
fn generate() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["workload.proto", "authorization.proto", "discovery.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    // The server's side is for tests; without I/O there are messages only.
    let with_service = env::var_os("CARGO_FEATURE_AGENT").is_some();
    tonic_prost_build::configure()
        // In order, so that of several things wrong the same one is told each time.
        .btree_map(".istio.workload")
        .build_client(with_service)
        .build_server(with_service)
        .compile_fds(descriptors)?;
    Ok(())
}

fn find() -> Result<Option<PathBuf>, Box<dyn Error>> {
    if let Some(path) = env::var_os(OVERRIDE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        println!("cargo::rerun-if-changed={}", path.display());
        return Ok(Some(path));
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets no CARGO_MANIFEST_DIR")?;
    let directory = Path::new(&package).join("../target/bpf");
    // A path that does not exist makes cargo run this again, and build the agent again, every
    // time; a directory can be watched before the object is in it.
    fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    println!("cargo::rerun-if-changed={}", directory.display());
    let object = directory.join("waysteer.o");
    Ok(object.is_file().then_some(object))
}
