//! Cgroups of our own, so that an agent's hooks are on those who are measured with it and on nobody
//! else: neither on those who are measured without, nor on the rest of the machine.
//!
//! They are threaded ones below one that all of this process moves into, because who is measured is
//! a thread. An agent is told of one by a bind mount, which is the root of a hierarchy to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Pid, gettid};
use waysteer::kernel::cgroup;
use waysteer_tests::process::Scratch;

const PREFIX: &str = "waysteer-bench-";

/// The one that this process is in as long as it lives.
#[derive(Debug)]
pub(crate) struct Parent {
    path: PathBuf,
    former: PathBuf,
}

/// One of those below it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Where it looks like a hierarchy of its own.
    mounted: PathBuf,
}

impl Parent {
    pub(crate) fn new() -> Result<Self> {
        let root = cgroup::root(None)?;
        sweep(&root);
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let former = root.join(own.context("this process is in no cgroup of version 2")?);
        let path = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cgroup {}", path.display()))?;
        let parent = Self { path, former };
        join(&parent.path, "cgroup.procs", Pid::this())?;
        Ok(parent)
    }

    pub(crate) fn child(&self, name: &str, scratch: &Scratch) -> Result<Cgroup> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        fs::write(path.join("cgroup.type"), "threaded").context("a threaded cgroup")?;
        let mounted = scratch.path().join(format!("cgroup-{name}"));
        fs::create_dir(&mounted)?;
        let (none, flags) = (None::<&str>, MsFlags::MS_BIND);
        mount(Some(&path), &mounted, none, flags, none).context("mounting a cgroup")?;
        Ok(Cgroup { path, mounted })
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = join(&self.former, "cgroup.procs", Pid::this());
        let _ = fs::remove_dir(&self.path);
    }
}

impl Cgroup {
    pub(crate) fn mounted(&self) -> &Path {
        &self.mounted
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a closure on a thread inside; what it starts is inside too.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let on_thread = || {
            enter(&self.path)?;
            inside()
        };
        let joined = thread::scope(|scope| scope.spawn(on_thread).join());
        joined.map_err(|_| anyhow::anyhow!("a thread in a cgroup panicked"))?
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = umount2(&self.mounted, MntFlags::MNT_DETACH);
        // Who is in it has ended before; the kernel may not have noticed yet.
        let gone = || fs::remove_dir(&self.path).is_ok();
        let _ = waysteer_tests::wait::wait_until(super::PATIENCE, "a cgroup is empty", gone);
    }
}

/// Moves the calling thread.
pub(crate) fn enter(path: &Path) -> Result<()> {
    join(path, "cgroup.threads", gettid())
}

fn join(path: &Path, file: &str, who: Pid) -> Result<()> {
    fs::write(path.join(file), who.to_string())
        .with_context(|| format!("entering cgroup {}", path.display()))
}

/// Removes what a killed run has left.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            for child in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                // Files refuse.
                let _ = fs::remove_dir(child.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}
