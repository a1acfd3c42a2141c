//! Tests that cannot run here say so.

use std::io::{self, Write as _};

use anyhow::{Result, ensure};

/// Like [`without`], for what nobody can be asked to install: also CI does without.
pub fn optional(what: &str, is_there: bool) -> Result<bool> {
    if is_there {
        return Ok(false);
    }
    say(what)?;
    Ok(true)
}

/// Whether a test has to be left out because something is not installed. It is then printed, past
/// the harness that hides what passing tests print, as `skipped: NAME: …`, which `cargo xtask test`
/// counts. With `CI=true` in the environment a missing thing is a failure.
pub fn without(what: &str, is_there: bool) -> Result<bool> {
    if is_there {
        return Ok(false);
    }
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    ensure!(!is_ci, "{what} is not installed, and this is CI");
    say(what)?;
    Ok(true)
}

fn say(what: &str) -> io::Result<()> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // The harness has begun a line with the test's name.
    writeln!(io::stdout(), "\nskipped: {name}: {what} is not installed")
}
