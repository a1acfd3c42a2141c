//! iproute2 in batches: one process for all the links and routes of a namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::netns::NetNs;

/// Commands for one namespace, each a line as after `ip`.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    lines: String,
}

impl Batch {
    pub(crate) fn add(&mut self, arguments: std::fmt::Arguments<'_>) -> &mut Self {
        writeln!(self.lines, "{arguments}").expect("a String takes every write");
        self
    }

    /// Runs them in a namespace; the first that fails ends it.
    pub(crate) fn run(&self, netns: &NetNs) -> Result<()> {
        let mut child = netns
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("`ip` could not be started; is iproute2 installed?")?;
        let mut input = child.stdin.take().context("stdin is piped")?;
        input.write_all(self.lines.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip in netns {}: {}\n{}",
            netns.name(),
            String::from_utf8_lossy(&output.stderr).trim(),
            self.lines
        );
        Ok(())
    }
}
