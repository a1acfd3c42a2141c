//! Sockets, and the local authority that the agent has made.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
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

/// One as we make them, where nobody answers any more. Another agent for ztunnel makes its socket at
/// the same place, but not for root alone.
fn is_dead_socket(path: &Path) -> bool {
    let is_ours = fs::symlink_metadata(path).is_ok_and(|file| {
        file.file_type().is_socket() && file.permissions().mode() & 0o777 == 0o600
    });
    // Where somebody listens for packets the refusal is another one.
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_ours && UnixStream::connect(path).is_err_and(is_refused)
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

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::net::UnixListener;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn only_our_own_dead_sockets_are_removed() {
        let name = format!("waysteer-dead-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let stream = directory.join("stream");
        let listener = UnixListener::bind(&stream).unwrap();
        set_mode(&stream, 0o600);
        let packets = directory.join("packets");
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.bind(&SockAddr::unix(&packets).unwrap()).unwrap();
        socket.listen(1).unwrap();
        set_mode(&packets, 0o600);
        for path in [&stream, &packets] {
            assert!(!is_dead_socket(path), "{}", path.display());
        }
        drop((listener, socket));
        for path in [&stream, &packets] {
            assert!(is_dead_socket(path), "{}", path.display());
            set_mode(path, 0o755);
            assert!(!is_dead_socket(path), "{}", path.display());
        }
        let file = directory.join("file");
        fs::write(&file, "").unwrap();
        set_mode(&file, 0o600);
        assert!(!is_dead_socket(&file));
        fs::remove_dir_all(&directory).unwrap();
    }
}
