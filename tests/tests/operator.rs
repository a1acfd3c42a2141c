//! What operators ask, and the kernel's answers, against real connections.

mod drops;
mod dump;
mod explain;
mod model;
mod monitor;
mod top;

use std::process::Command;

use anyhow::{Context as _, Result};
use waysteer_tests::bed::Bed;
use waysteer_tests::process::binary;

/// What a command printed, and its exit status.
#[derive(Debug)]
struct Said {
    text: String,
    errors: String,
    status: Option<i32>,
}

impl Said {
    fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{self:?}"))
    }

    /// The row of a table that starts with this.
    fn row(&self, start: &str) -> Result<&str> {
        let found = self.text.lines().find(|line| line.starts_with(start));
        found.with_context(|| format!("no line of {start} in {}", self.text))
    }
}

/// The agent of the bed, and what is pinned there.
fn command(bed: &Bed, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("waysteer")?);
    command.args(arguments).arg("--socket").arg(bed.socket());
    command.env("WAYSTEER_PIN_ROOT", bed.pins.path());
    Ok(command)
}

fn waysteer(bed: &Bed, arguments: &[&str]) -> Result<Said> {
    let output = command(bed, arguments)?.output().context("waysteer")?;
    Ok(Said {
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    })
}
