//! Clearing away what runs that were killed have left.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DIRECTORY, PREFIX, remove};

/// Removes the namespaces of test processes that are no more, and kills what still runs in them.
/// Returns their names. Namespaces of anyone else are not touched.
pub fn sweep() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Ok(removed);
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !is_alive(pid)) {
            kill_inside(&entry.path());
            remove(&entry.path())?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// The process that made a namespace, if it was one of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// A process is in a namespace when the files that stand for it are the same.
fn kill_inside(namespace: &Path) {
    let Ok(ours) = fs::metadata(namespace) else {
        return;
    };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(theirs) = fs::metadata(process.path().join("ns/net")) else {
            continue;
        };
        if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("waysteer-12-0-client"), Some(12));
        assert_eq!(owner("waysteer-x"), None);
        assert_eq!(owner("cni-1234"), None);
    }
}
