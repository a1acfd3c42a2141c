//! `waysteer top` on a terminal: what it leaves behind, however it ends.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::process::binary;
use waysteer_tests::skip;
use waysteer_tests::wait::{wait_for, wait_until};

use super::waysteer;

const PATIENCE: Duration = Duration::from_secs(30);
/// To another screen, and back.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// `waysteer top` on a terminal of its own, which `script` makes.
struct Top {
    script: Child,
    output: std::path::PathBuf,
}

impl Top {
    fn start(bed: &Bed, name: &str) -> Result<Self> {
        let output = bed.scratch.path().join(name);
        let command = format!(
            "stty rows 24 cols 80; exec {} top --interval 0.2 --socket {}",
            binary("waysteer")?.display(),
            bed.socket().display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &command])
            .arg(&output)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("script")?;
        Ok(Self { script, output })
    }

    fn text(&self) -> String {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn shows(&self, what: &str) -> Result<()> {
        let shown = wait_until(PATIENCE, what, || self.text().contains(what));
        shown.with_context(|| self.text())
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        let input = self.script.stdin.as_mut().context("an input")?;
        input.write_all(keys.as_bytes())?;
        Ok(input.flush()?)
    }

    /// The process under `script`.
    fn top(&self) -> Result<Pid> {
        let id = self.script.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let found = wait_for(PATIENCE, "top runs", || {
            let children = std::fs::read_to_string(&path).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })?;
        Ok(Pid::from_raw(found))
    }

    fn ends(mut self) -> Result<()> {
        let mut status = None;
        wait_until(PATIENCE, "top ends", || {
            status = self.script.try_wait().ok().flatten();
            status.is_some()
        })?;
        let text = self.text();
        ensure!(
            status.is_some_and(|status| status.success()),
            "{status:?} {text}"
        );
        ensure!(text.matches(ENTER).count() == 1, "{text}");
        ensure!(text.matches(LEAVE).count() == 1, "{text}");
        Ok(())
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn the_terminal_is_given_back() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let said = waysteer(&bed, &["top"])?;
    ensure!(said.status == Some(1), "{said:?}");
    ensure!(said.errors.contains("needs a terminal"), "{said:?}");
    let is_there = Command::new("script").arg("--version").output().is_ok();
    if skip::optional("script", is_there)? {
        return Ok(());
    }
    let mut top = Top::start(&bed, "quit.typescript")?;
    top.shows("default/client")?;
    // Into the busiest pod. What is written is what has changed: blanks are jumped over.
    top.press("s\r")?;
    top.shows("DIALLED")?;
    top.press("q")?;
    top.ends()?;
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let top = Top::start(&bed, &format!("{signal}.typescript"))?;
        top.shows("default/client")?;
        kill(top.top()?, signal)?;
        top.ends()?;
    }
    // Its terminal goes.
    let top = Top::start(&bed, "gone.typescript")?;
    top.shows("default/client")?;
    let process = top.top()?;
    drop(top);
    wait_until(PATIENCE, "top ends with its terminal", || {
        kill(process, None).is_err()
    })
}
