//! Sockets, and the local authority that the agent has made.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::inventory::Item;

/// Where the agent puts things unless told otherwise.
const RUN: &str = "/run/waysteer";
const CA: &str = "/run/waysteer/ca";
/// The files of an authority.
const CA_FILES: [&str; 4] = ["ca.pem", "ca.key", ".lock", MADE];
/// Says that the authority beside it was made, not given.
pub(crate) const MADE: &str = "made-by-waysteer";

/// What would be removed.
pub(super) fn list(sockets: &[PathBuf], items: &mut Vec<Item>) {
    let dead = sockets.iter().filter(|path| is_dead_socket(path));
    items.extend(dead.map(|path| Item::new("socket", path.display())));
    items.extend(
        authority()
            .iter()
            .map(|path| Item::new("file", path.display())),
    );
    if is_ours_to_remove(Path::new(RUN), sockets) {
        items.push(Item::new("directory", RUN));
    }
}

pub(super) fn remove(sockets: &[PathBuf], errors: &mut Vec<String>) {
    let mut files: Vec<PathBuf> = sockets.to_vec();
    files.retain(|path| is_dead_socket(path));
    files.extend(authority());
    for file in files {
        if let Err(error) = fs::remove_file(&file) {
            errors.push(format!("cannot remove {}: {error}", file.display()));
        }
    }
    // Only if nothing else is in them.
    for directory in [CA, RUN] {
        let _ = fs::remove_dir(directory);
    }
}

/// Files of the authority, if it was made.
fn authority() -> Vec<PathBuf> {
    let directory = Path::new(CA);
    if !directory.join(MADE).exists() {
        return Vec::new();
    }
    let files = CA_FILES.iter().map(|name| directory.join(name));
    files.filter(|path| path.exists()).collect()
}

/// Nobody answers there any more.
fn is_dead_socket(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err()
}

/// Whether nothing would be in it when all of ours is gone.
fn is_ours_to_remove(directory: &Path, sockets: &[PathBuf]) -> bool {
    let ours = |path: &Path| {
        sockets
            .iter()
            .any(|socket| socket == path && is_dead_socket(path))
            || path == Path::new(CA) && only_the_authority()
    };
    match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().all(|entry| ours(&entry.path())),
        Err(_) => false,
    }
}

fn only_the_authority() -> bool {
    let files = authority();
    let entries = fs::read_dir(CA).into_iter().flatten().flatten();
    !files.is_empty()
        && entries
            .map(|entry| entry.path())
            .all(|path| files.contains(&path))
}
