//! The socket in the file system that ztunnel connects to.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::error::ZdsError;

const BACKLOG: i32 = 16;

/// Removes the socket when dropped, unless it is another's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens there, for root only. What a killed agent left is removed.
    ///
    /// # Errors
    /// When something lives there already, or the kernel refuses.
    pub(super) fn bind(path: &Path) -> Result<(Self, Socket), ZdsError> {
        let failed = |what| {
            let path = path.to_owned();
            move |source| ZdsError::Socket { what, path, source }
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the directory"))?;
        }
        remove_stale(path)?;
        let address = SockAddr::unix(path).map_err(failed("make an address"))?;
        let socket =
            Socket::new(Domain::UNIX, Type::SEQPACKET, None).map_err(failed("make a socket"))?;
        // The file gets the mode that the socket has when it is bound: nobody else can connect
        // even for a moment.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(io::Error::from)
            .map_err(failed("set the mode of the socket"))?;
        socket.bind(&address).map_err(failed("bind a socket"))?;
        socket.listen(BACKLOG).map_err(failed("listen"))?;
        let identity = identity(path).map_err(failed("find the socket"))?;
        let path = path.to_owned();
        Ok((Self { path, identity }, socket))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _removed = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn remove_stale(path: &Path) -> Result<(), ZdsError> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| ZdsError::Socket { what, path, source }
    };
    match occupant(path).map_err(failed("look for a socket"))? {
        Occupant::Nothing => Ok(()),
        Occupant::Stale => match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove the stale socket")),
        },
        Occupant::Server => Err(ZdsError::Owned {
            path: path.to_owned(),
        }),
        Occupant::NoSocket => Err(ZdsError::NoSocket {
            path: path.to_owned(),
        }),
    }
}

/// What is at a path where ztunnel is to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    Nothing,
    /// A socket that nobody listens on: a killed agent left it.
    Stale,
    /// Somebody listens.
    Server,
    NoSocket,
}

/// Looks, without waiting. Whoever listens hears of a connection that says nothing.
///
/// # Errors
/// When the path cannot be looked at.
pub fn occupant(path: &Path) -> io::Result<Occupant> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return Ok(Occupant::NoSocket),
        Ok(_) => {}
    }
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    // Where the backlog is full somebody lives, too.
    socket.set_nonblocking(true)?;
    Ok(match socket.connect(&address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Occupant::Stale,
        Err(error) if error.kind() == ErrorKind::NotFound => Occupant::Nothing,
        // It answers, if only that it is of another type.
        Ok(()) | Err(_) => Occupant::Server,
    })
}
