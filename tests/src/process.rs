//! Programs under test, each with its log.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{wait_for, wait_until};

/// How long a program may take to end in good order.
const GRACE: Duration = Duration::from_secs(5);

/// Of a log so many lines are shown when a test fails.
const SHOWN: usize = 40;

/// A directory for logs, configurations and certificates; it goes away when dropped, unless a panic
/// is on its way.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("waysteer-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("{} could not be made", path.display()))?;
        Ok(Self {
            path,
            is_kept: false,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, text).with_context(|| format!("{} not written", path.display()))?;
        Ok(path)
    }

    /// Leaves it in place.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("left for inspection: {}", self.path.display());
        } else if !self.is_kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A running program. Dropped, it is asked to end, and killed when it does not.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command, which [`crate::netns::NetNs::command`] may have put into a namespace.
    /// What it prints goes to `NAME.log`.
    pub fn start(name: &str, mut command: Command, logs: &Scratch) -> Result<Self> {
        let log = logs.path().join(format!("{name}.log"));
        // A restarted program goes on in the same log.
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for us alone; we end our programs ourselves, in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} could not be started: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until a line of its log contains some text; fails at once if it ends before.
    pub fn wait_for_log(&mut self, within: Duration, text: &str) -> Result<()> {
        let what = format!("{} says {text:?}", self.name);
        self.wait_until(within, &what, |process| process.log().contains(text))
    }

    /// Waits for a condition; fails at once if the program ends before.
    pub fn wait_until(
        &mut self,
        within: Duration,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let mut ended = None;
        let waited = wait_until(within, what, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || condition(self)
        });
        if waited.is_err() || ended.is_some_and(|_| !condition(self)) {
            self.show_log();
        }
        waited?;
        match ended {
            Some(status) if !condition(self) => bail!("{} ended: {status}: {what}", self.name),
            _ => Ok(()),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_for_end(GRACE)
    }

    /// Waits until it has ended, by itself.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait_for(within, &what, || self.child.try_wait().ok().flatten())
    }

    /// Ends it without asking (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Prints the end of its log.
    pub fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("---- {} ({})", self.name, self.log.display());
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
            eprintln!("{line}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_log();
        }
        if !self.is_running() {
            return;
        }
        // Not `terminate`: that one gives up at once when interrupted.
        let _ = self.signal(Signal::SIGTERM);
        let deadline = std::time::Instant::now() + GRACE;
        while self.is_running() && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.kill();
    }
}

/// Ends of ten thousand connections, and what else there is.
const MANY_FILES: u64 = 100_000;

/// Lets this process, and what it starts, open many files: thousands of connections at once need more
/// than the usual 1024. As many as it may, where it may not have that many.
pub fn raise_file_limit() -> Result<u64> {
    let (_, allowed) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = allowed.max(MANY_FILES);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::RLIMIT_NOFILE, allowed, allowed)?;
    Ok(allowed)
}

/// A binary of the workspace, as cargo has built it beside the running one: `waysteer`,
/// `hbone-peer`. `WAYSTEER_BIN_DIR` names another place.
pub fn binary(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("WAYSTEER_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = std::env::current_exe().context("the running program's path")?;
            let beside = own.parent().context("a program lies in a directory")?;
            // Tests are built one level deeper, in `deps`.
            let is_test = beside.file_name().is_some_and(|name| name == "deps");
            let directory = if is_test {
                beside.parent()
            } else {
                Some(beside)
            };
            directory.context("deps lies in a directory")?.to_owned()
        }
    };
    let path = directory.join(name);
    if !path.exists() {
        bail!("{} is not built; run `cargo build`", path.display());
    }
    Ok(path)
}

/// Another build of the kernel programs' object, see CONTRIBUTING.md: `code` or `layout`.
pub fn other_object(name: &str) -> Result<String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf");
    let path = target.join(format!("waysteer-{name}.o"));
    if !path.exists() {
        bail!(
            "{} is not built; run `cargo xtask build-ebpf --variant {name}`",
            path.display()
        );
    }
    Ok(path.display().to_string())
}
