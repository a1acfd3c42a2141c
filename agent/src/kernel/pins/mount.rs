//! Whether a path is on a bpf file system, and mounting one where every tool looks for it.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::PinError;
use crate::kernel::privileges::hint;

/// Where systemd mounts it, and bpftool and others where nobody has.
const USUAL: &str = "/sys/fs/bpf";

/// Mounts a bpf file system if `path` is not on one and could be.
pub(super) fn prepare(path: &Path) -> Result<(), PinError> {
    if is_bpf(existing(path))? {
        return Ok(());
    }
    if !path.starts_with(USUAL) {
        return Err(not_bpf(path));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    mount(Some("bpf"), USUAL, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| {
        let source = errno.into();
        PinError::Mount {
            path: PathBuf::from(USUAL),
            hint: hint(&source),
            source,
        }
    })?;
    tracing::info!(path = USUAL, "mounted a bpf file system");
    Ok(())
}

/// What [`prepare`] would do, in words.
pub(super) fn check(path: &Path) -> Result<&'static str, PinError> {
    if is_bpf(existing(path))? {
        Ok("on a bpf file system")
    } else if path.starts_with(USUAL) {
        Ok("a bpf file system will be mounted at /sys/fs/bpf")
    } else {
        Err(not_bpf(path))
    }
}

pub(super) fn is_bpf(path: &Path) -> Result<bool, PinError> {
    let status = statfs(path).map_err(|errno| PinError::failed("look at", path, errno.into()))?;
    Ok(status.filesystem_type() == BPF_FS_MAGIC)
}

/// The path itself, or what of it there is.
fn existing(path: &Path) -> &Path {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing.unwrap_or(Path::new("/"))
}

fn not_bpf(path: &Path) -> PinError {
    PinError::NotBpf {
        path: path.to_owned(),
        mount: path.parent().unwrap_or(path).to_owned(),
    }
}
