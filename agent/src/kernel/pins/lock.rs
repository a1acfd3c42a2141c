//! One agent a directory: two would exchange each other's programs and prune each other's entries.
//!
//! A lock on the directory itself, which the kernel takes back however the process ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::PinError;

#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, PinError> {
        let failed = |source| PinError::failed("lock", path, source);
        let file = File::open(path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) if !still_names(path, inode) => {
                // The last owner has removed it meanwhile.
                Err(failed(io::Error::other("the directory has just gone away")))
            }
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(PinError::InUse {
                path: path.to_owned(),
                holder: holder(inode),
            }),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

fn still_names(path: &Path, inode: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
}

/// For people; the lock may be in another pid namespace.
fn holder(inode: u64) -> Option<u32> {
    holder_in(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// `1: FLOCK  ADVISORY  WRITE 5180 00:27:2063493 0 EOF`
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_flock = fields.next()? == "FLOCK";
        let holder = fields.nth(2)?.parse().ok()?;
        (is_flock && fields.next()?.ends_with(&suffix)).then_some(holder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_the_inode() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 1 00:17:77 0 EOF
2: FLOCK  ADVISORY  WRITE 2 00:17:177 0 EOF
3: FLOCK  ADVISORY  WRITE 3 00:27:77 0 EOF
4: broken
";
        assert_eq!(holder_in(locks, 77), Some(3));
        assert_eq!(holder_in(locks, 7), None);
    }
}
