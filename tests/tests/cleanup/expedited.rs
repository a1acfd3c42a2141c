//! The kernel parameter that an agent changes for as long as it is in a pod's network namespace, when
//! it is killed there. The parameter is a file of the bed's.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::process::binary;
use waysteer_tests::wait::wait_until;

use super::{NOTHING, cleanup, run_cleanup};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_killed_agent_s_is_put_back_by_cleanup() -> Result<()> {
    let bed = killed_in_between()?;
    let mut command = Command::new(binary("waysteer")?);
    command.arg("status").arg("--socket").arg(bed.socket());
    command.arg("--pin-root").arg(bed.pins.path());
    let status = command.output()?;
    let status = String::from_utf8_lossy(&status.stdout);
    let file = bed.rcu_expedited();
    let file = file.display();
    let expected = format!("left changed: {file}, which was 0");
    ensure!(status.contains(&expected), "{status}");
    let planned = run_cleanup(&bed, &["--dry-run"])?;
    let expected = format!("would put back kernel parameter {file}, which was 0");
    ensure!(planned.contains(&expected), "{planned}");
    ensure!(value(&bed)? == "1");

    let done = cleanup(&bed)?;
    let expected = format!("put back kernel parameter {file}, which was 0");
    ensure!(done.contains(&expected), "{done}");
    ensure!(value(&bed)? == "0");
    ensure!(!bed.pins.path().exists(), "{:?}", bed.pins.list()?);
    let again = cleanup(&bed)?;
    ensure!(again.trim() == NOTHING, "{again}");
    Ok(())
}

#[test]
fn a_killed_agent_s_is_put_back_by_the_next() -> Result<()> {
    let mut bed = killed_in_between()?;
    bed.start_agent()?;
    bed.wait_until_ready()?;
    is_as_found(&bed, "0")?;
    let agent = bed.agent.as_mut();
    let expected = "put back what an earlier agent had changed";
    agent.map_or(Ok(()), |agent| agent.wait_for_log(PATIENCE, expected))?;
    bed.stop_agent()?;
    ensure!(value(&bed)? == "0");
    ensure!(!bed.pins.path().exists(), "{:?}", bed.pins.list()?);
    Ok(())
}

/// Whatever that is.
#[test]
fn enrolling_and_letting_go_leave_it_as_found() -> Result<()> {
    for found in ["0", "1"] {
        let mut bed = Bed::new(&Options {
            start_agent: false,
            start_remote_agent: false,
            ..Options::default()
        })?;
        fs::write(bed.rcu_expedited(), found)?;
        bed.start_agent()?;
        bed.wait_until_ready()?;
        is_as_found(&bed, found)?;
        bed.stop_agent()?;
        ensure!(value(&bed)? == found);
    }
    Ok(())
}

/// An agent was killed while it enrolled its pods, and had changed the parameter for it.
fn killed_in_between() -> Result<Bed> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        start_remote_agent: false,
        ..Options::default()
    })?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        bed.start_agent()?;
        // As fast as can be: grace periods stay long here, but not for ever.
        while value(&bed)? == "0" {
            ensure!(Instant::now() < deadline, "the parameter was never changed");
            std::thread::yield_now();
        }
        bed.kill_agent()?;
        if value(&bed)? == "1" {
            return Ok(bed);
        }
        // It was too late, and is enrolled: once more from the start.
        cleanup(&bed)?;
    }
}

fn is_as_found(bed: &Bed, found: &str) -> Result<()> {
    // A repair may be at work.
    wait_until(PATIENCE, "all is as it was found", || {
        let pins = bed.pins.list().unwrap_or_default();
        let is_recorded = pins.iter().any(|pin| pin.ends_with("EXPEDITED"));
        !pins.is_empty() && !is_recorded && value(bed).is_ok_and(|value| value == found)
    })
}

fn value(bed: &Bed) -> Result<String> {
    let value = fs::read_to_string(bed.rcu_expedited())?;
    Ok(value.trim().to_owned())
}
