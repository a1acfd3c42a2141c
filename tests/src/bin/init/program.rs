//! One program, from its start to its end, and whatever it left.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use waysteer_tests::wait::wait_for;

/// Where a program's output goes meanwhile.
const OUTPUT: &str = "/tmp/output";
/// What follows the first so many bytes of it is left out.
const MOST: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Signalled(i32),
    Late,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) took: Duration,
    output: String,
}

impl Outcome {
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.output.lines()
    }
}

/// Runs programs, all in the same environment.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    environment: Vec<(String, String)>,
}

impl Runner {
    /// Sets a variable for what is run from now on.
    pub(crate) fn set(&mut self, name: String, value: String) {
        self.environment.push((name, value));
    }

    /// Runs a program; when it has not ended in time, it is killed. So is everything that it has
    /// started and not ended: nothing of one test is there for the next one.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[String],
        within: Duration,
    ) -> Result<Outcome> {
        let output = File::create(OUTPUT).context(OUTPUT)?;
        let begun = Instant::now();
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{program} could not be started"))?;
        let ended = wait_for(within, "it ends", || child.try_wait().ok().flatten());
        let took = begun.elapsed();
        let end = match ended {
            Ok(status) => match status.code() {
                Some(code) => End::Exited(code),
                None => End::Signalled(status.signal().unwrap_or_default()),
            },
            Err(_) => End::Late,
        };
        kill_all()?;
        let bytes = fs::read(OUTPUT).context(OUTPUT)?;
        let shown = bytes.get(..MOST).unwrap_or(&bytes);
        let output = String::from_utf8_lossy(shown).into_owned();
        Ok(Outcome { end, took, output })
    }
}

/// Every process but this one, which the kernel leaves out.
fn kill_all() -> Result<()> {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) => {}
        // There is none.
        Err(nix::errno::Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error).context("the processes that are left"),
    }
    // Orphans are the first program's children.
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::empty())) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
    Ok(())
}
