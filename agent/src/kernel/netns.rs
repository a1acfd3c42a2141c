//! Pods' network namespaces.

mod network;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

pub use self::network::{PodDevice, PodNetwork};
use super::privileges::hint;

/// `SO_NETNS_COOKIE`, Linux 5.14; the libc crate lacks it for some targets.
const SO_NETNS_COOKIE: i32 = 71;

/// A network namespace that is kept alive, whatever becomes of the path it was opened by.
#[derive(Debug)]
pub struct PodNetns {
    path: PathBuf,
    file: File,
    identity: Identity,
    cookie: u64,
}

/// Two open files of the same netns agree in it, and no others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

#[derive(Debug, Error)]
pub enum NetnsError {
    #[error("cannot open network namespace {}{}", path.display(), hint(source))]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot enter network namespace {}{}",
        path.display(),
        enter_hint(source)
    )]
    Enter {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a network namespace")]
    Make(#[source] io::Error),
    #[error("cannot start a thread for a network namespace")]
    Thread(#[source] io::Error),
    #[error("cannot read the cookie of a network namespace")]
    Cookie(#[source] io::Error),
    #[error("cannot read devices and addresses of network namespace {}", path.display())]
    Network {
        path: PathBuf,
        #[source]
        source: super::route_socket::RouteSocketError,
    },
}

fn enter_hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => hint(error),
        _ => ": is it one?".to_owned(),
    }
}

impl PodNetns {
    /// Opens a bind mount such as `/run/netns/NAME`, or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        Ok(Self::visit(path, |_| ())?.0)
    }

    /// Opens it and runs `work` in it, on one thread, see [`Self::run`].
    pub fn visit<R: Send>(
        path: &Path,
        work: impl FnOnce(&Self) -> R + Send,
    ) -> Result<(Self, R), NetnsError> {
        let failed = |source| NetnsError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let identity = Identity::of(&file.metadata().map_err(failed)?);
        let mut netns = Self {
            path: path.to_owned(),
            file,
            identity,
            cookie: 0,
        };
        let done = on_own_thread(|| {
            netns.enter()?;
            netns.cookie = current_cookie().map_err(NetnsError::Cookie)?;
            Ok(work(&netns))
        })?;
        Ok((netns, done))
    }

    /// Never used again for another netns while the node runs, unlike path and inode.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For another owner, who enters it on threads of its own.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// Whether the path names another netns by now, or none.
    pub fn is_replaced(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => Identity::of(&metadata) != self.identity,
            Err(_) => true,
        }
    }

    /// Whether the path names another netns by now, not merely none, or a file on which one will be
    /// mounted.
    pub fn has_successor(&self) -> bool {
        let is_netns = || statfs(&self.path).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC);
        self.is_replaced() && is_netns()
    }

    /// Runs `work` in the netns and waits for it; blocks, so not for async code.
    ///
    /// On a thread of its own, which ends with it: a thread that has been in a foreign netns must
    /// never do anything else.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, NetnsError> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// With the calling thread.
    fn enter(&self) -> Result<(), NetnsError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Enter {
            path: self.path.clone(),
            source: source.into(),
        })
    }
}

/// Runs `work` in a netns that nobody else is in and that is gone afterwards.
pub fn run_in_new_netns<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, NetnsError> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Make(source.into()))?;
        Ok(work())
    })
}

/// The cookie of the calling thread's netns.
pub fn current_cookie() -> io::Result<u64> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as nix::libc::socklen_t;
    // SAFETY: `cookie` has the `length` bytes that the kernel writes at most.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn on_own_thread<R: Send>(
    work: impl FnOnce() -> Result<R, NetnsError> + Send,
) -> Result<R, NetnsError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work);
        let joined = thread.map_err(NetnsError::Thread)?.join();
        joined.unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}
