//! Network namespaces with names, so that `ip netns` and `nsenter` find them too.

mod enter;
mod sweep;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

pub use sweep::sweep;

/// Where `ip netns` looks.
const DIRECTORY: &str = "/run/netns";

/// What the names of ours begin with, before the process id.
const PREFIX: &str = "waysteer-";

/// A network namespace of our own; it goes away when dropped, unless processes still live in it.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    file: Arc<File>,
}

impl NetNs {
    /// Makes an empty namespace, with `lo` down. The full name is unique on the machine, so that
    /// runs may stand beside each other.
    pub fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}-{name}", std::process::id());
        Self::create(&name).with_context(|| format!("netns {name} could not be made (root?)"))
    }

    fn create(name: &str) -> Result<Self> {
        fs::create_dir_all(DIRECTORY)?;
        let path = Path::new(DIRECTORY).join(name);
        File::create_new(&path)?;
        // The namespace is the thread's own until the bind mount keeps it.
        let kept = path.clone();
        let made = on_own_thread(move || -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let flags = MsFlags::MS_BIND;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &kept, None::<&str>, flags, None::<&str>)?;
            Ok(())
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let file = Arc::new(File::open(&path)?);
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// Puts an empty namespace in the place of this one, under the same name and path, as when a
    /// pod's sandbox is made anew. The former one lives as long as what is returned.
    pub fn remake(&mut self) -> Result<Former> {
        remove(&self.path())?;
        let mut new = Self::create(&self.name)?;
        std::mem::swap(&mut self.file, &mut new.file);
        let former = Former {
            file: Arc::clone(&new.file),
        };
        // The name is ours, and stays.
        std::mem::forget(new);
        Ok(former)
    }

    /// The full name, as in `ip netns exec NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it: `/run/netns/NAME`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs a closure inside, on an OS thread of its own; a panic comes out as it went in. Sockets
    /// that it returns stay in the namespace wherever they are used.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            enter::enter(self.file.as_fd()).expect("our own namespace can be entered");
            inside()
        })
    }

    /// Starts a thread that stays inside, and so do the threads that it starts.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        inside: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let file = Arc::clone(&self.file);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            enter::enter(file.as_fd()).expect("our own namespace can be entered");
            inside()
        });
        thread.with_context(|| format!("thread {name} could not be started"))
    }

    /// A command that will run inside. Mounts stay as they are, so that it sees `/sys/fs/bpf`,
    /// which `ip netns exec` would hide.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command_in(&self.file, program)
    }

    /// What the kernel programs know the namespace by (`bpf_get_netns_cookie`).
    pub fn cookie(&self) -> Result<u64> {
        let cookie = self.run(|| -> io::Result<u64> {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")
                .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))?;
            enter::cookie(socket.as_raw_fd())
        });
        cookie.with_context(|| format!("cookie of netns {}", self.name))
    }

    /// Writes a sysctl inside, named as below `/proc/sys`: `net/ipv4/ip_forward`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(name);
        self.run(|| fs::write(&path, value))
            .with_context(|| format!("sysctl {name}={value} in netns {}", self.name))
    }

    /// Reads a sysctl inside.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(name);
        let value = self
            .run(|| fs::read_to_string(&path))
            .with_context(|| format!("sysctl {name} in netns {}", self.name))?;
        Ok(value.trim().to_owned())
    }
}

/// A namespace that has lost its name.
#[derive(Debug)]
pub struct Former {
    file: Arc<File>,
}

impl Former {
    /// Runs a closure inside, as [`NetNs::run`].
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            enter::enter(self.file.as_fd()).expect("our own namespace can be entered");
            inside()
        })
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command_in(&self.file, program)
    }
}

fn command_in(file: &Arc<File>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let file = Arc::clone(file);
    // SAFETY: between fork and exec the closure only calls setns(2) on an open descriptor, which is
    // async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(move || enter::enter(file.as_fd())) };
    command
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path()) {
            eprintln!("netns {} could not be removed: {error:#}", self.name);
        }
    }
}

/// Takes the name away; the namespace itself goes with its last socket and process.
fn remove(path: &Path) -> Result<()> {
    umount2(path, MntFlags::MNT_DETACH).map_err(|error| anyhow!("umount: {error}"))?;
    fs::remove_file(path).context("the file under the mount")
}

/// Namespace moves are per thread, and a thread that ends needs no way back.
fn on_own_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    match thread::scope(|scope| scope.spawn(body).join()) {
        Ok(value) => value,
        Err(panic) => panic::resume_unwind(panic),
    }
}
