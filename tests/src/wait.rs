//! Waiting for a condition, never for a while.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(5);

/// By how much all deadlines are longer, on a machine that is so much slower.
const FACTOR: &str = "WAYSTEER_PATIENCE";

/// Waits until a condition holds. Fails when the time is over or Ctrl-C was pressed, with `what`
/// in the message.
pub fn wait_until(within: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(within, what, || condition().then_some(()))
}

/// Waits for a value, in the same way.
pub fn wait_for<T>(
    within: Duration,
    what: &str,
    mut value: impl FnMut() -> Option<T>,
) -> Result<T> {
    let within = patient(within);
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = value() {
            return Ok(value);
        }
        if interrupt::requested() {
            bail!("interrupted while waiting for: {what}");
        }
        if Instant::now() >= deadline {
            bail!("not within {within:?}: {what}");
        }
        thread::sleep(EVERY);
    }
}

/// A deadline as it is on this machine: longer by `WAYSTEER_PATIENCE`, if that is set.
///
/// # Panics
/// Where that is no number: a run whose deadlines are not those asked for would fail by chance.
pub fn patient(within: Duration) -> Duration {
    static TIMES: LazyLock<u32> = LazyLock::new(|| match std::env::var(FACTOR) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{FACTOR} is {text:?}, and no number")),
        Err(_) => 1,
    });
    within * *TIMES
}
