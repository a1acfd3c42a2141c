//! An emulated machine, from power on to power off.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::command;

/// A kernel that panics, as it does when its first program ends, starts again at once, which the
/// emulator takes as the end.
const PARAMETERS: &str = "panic=-1 loglevel=4 rdinit=/init";

/// Longer than any step may take by the plan: whoever says nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(600);

/// Kills the emulator, however we leave.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a kernel and hands each line of its second serial port on; the kernel's own messages go
/// into a file. Fails when the machine takes longer than it may or stops talking.
pub(super) fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    console: &Path,
    within: Duration,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let arch = kernel.arch;
    let [messages, report] = arch.ports();
    let more = arch.parameters();
    let mut emulator = Command::new(arch.emulator());
    emulator
        .args(arch.machine())
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-chardev", "stdio,id=report,signal=off"])
        .args(["-device", arch.second_port()])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        // What follows the dashes is for the first program.
        .arg(format!(
            "console={messages} {PARAMETERS} {more} -- /dev/{report}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    eprintln!("$ {}", command::describe(&emulator));
    let child = emulator.spawn();
    let mut child = child.with_context(|| format!("{} could not be started", arch.emulator()))?;
    let output = child.stdout.take().context("stdout is piped")?;
    let mut emulator = Emulator(child);
    let (sender, lines) = mpsc::sync_channel(64);
    let reader = thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&text);
            if sender.send(text.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.min(SILENCE)) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if left <= SILENCE => {
                bail!("the machine did not end within {within:?}")
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine said nothing for {SILENCE:?}")
            }
        }
    }
    let status = emulator.0.wait()?;
    // The reader ended with the output.
    let _ = reader.join();
    if !status.success() {
        bail!("{}: {status}", arch.emulator());
    }
    Ok(())
}
