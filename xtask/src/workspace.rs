//! Where things are.

use std::path::{Path, PathBuf};

/// The workspace that this binary was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// What the commands make: the eBPF object and tools. `CARGO_TARGET_DIR` moves cargo's own output
/// only, so that the agent and the tests find the object at one place.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The kernel programs as the agent loads them.
pub(crate) fn bpf_object() -> PathBuf {
    target().join("bpf").join("waysteer.o")
}

/// The same programs built in another way, see CONTRIBUTING.md.
pub(crate) fn bpf_variant(name: &str) -> PathBuf {
    target().join("bpf").join(format!("waysteer-{name}.o"))
}

/// The Envoy that the tests and the demo use as their waypoint.
pub(crate) fn envoy() -> PathBuf {
    target().join("tools/envoy/envoy/_bin/envoy")
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
