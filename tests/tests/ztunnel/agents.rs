//! Agents that end and come again, while ztunnel stays.

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::Options;
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::ztunnel::Ztunnel;

use super::{PATIENCE, bed};

/// How an agent ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

#[test]
fn an_agent_that_is_killed_and_started_again_cuts_nothing() -> Result<()> {
    restart(End::Killed)
}

#[test]
fn an_agent_that_is_stopped_and_started_again_cuts_nothing() -> Result<()> {
    restart(End::Stopped)
}

fn restart(end: End) -> Result<()> {
    let Some(mut bed) = bed(Options::default())? else {
        return Ok(());
    };
    let ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let wire = Wire::watch(&bed)?;
    let load = Load::start(&bed, 200)?;
    load.wait_for_more(20, PATIENCE)?;
    match end {
        End::Killed => bed.agent.take().context("the agent")?.kill()?,
        End::Stopped => bed.stop_agent()?,
    }
    load.wait_for_more(20, PATIENCE)?;
    bed.start_agent()?;
    bed.wait_until_ready()?;
    load.wait_for_more(20, PATIENCE)?;
    load.finish_whole(&wire)
        .with_context(|| format!("{end:?}"))?;
    // Nothing was taken from it, and given back.
    let log = ztunnel.process.log();
    ensure!(log.matches("pod received").count() == 6, "{log}");
    ensure!(!log.contains("pod delete request"));
    Ok(())
}
