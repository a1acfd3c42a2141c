//! Where the cgroup v2 hierarchy is mounted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

const MOUNTS: &str = "/proc/self/mounts";

#[derive(Debug, Error)]
pub enum CgroupError {
    #[error("cannot read {MOUNTS}")]
    Mounts(#[source] io::Error),
    #[error("no cgroup v2 hierarchy is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`")]
    NotMounted,
    #[error("{} is not the root of a cgroup v2 hierarchy", path.display())]
    NotCgroup2 { path: PathBuf },
}

/// The root of the hierarchy: `preferred` where it is one, else, where nothing is preferred, what
/// is mounted.
pub fn root(preferred: Option<&Path>) -> Result<PathBuf, CgroupError> {
    let mounts = fs::read_to_string(MOUNTS).map_err(CgroupError::Mounts)?;
    choose(&mounts, preferred)
}

fn choose(mounts: &str, preferred: Option<&Path>) -> Result<PathBuf, CgroupError> {
    let mut roots = mounts.lines().filter_map(cgroup2_root);
    match preferred {
        None => roots.next().ok_or(CgroupError::NotMounted),
        Some(path) => roots
            .find(|root| root == path)
            .ok_or_else(|| CgroupError::NotCgroup2 {
                path: path.to_owned(),
            }),
    }
}

/// Device, mount point, type, options.
fn cgroup2_root(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ');
    let point = fields.nth(1)?;
    (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
none /mnt/other cgroup2 rw 0 0
";

    #[test]
    fn finds_the_unified_hierarchy() {
        let found = |preferred: Option<&str>| choose(HYBRID, preferred.map(Path::new)).ok();
        assert_eq!(found(None), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(found(Some("/mnt/other")), Some("/mnt/other".into()));
        assert_eq!(found(Some("/sys/fs/cgroup")), None);
        assert!(matches!(choose("", None), Err(CgroupError::NotMounted)));
    }
}
