//! The load and the watch over the wires, before anything is concluded from their silence.

use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, OPEN_SERVICE_PORT, Options};
use waysteer_tests::load::{Kind, Load, Wire, all_ways};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_no_agent_steers_is_seen_in_plaintext() -> Result<()> {
    let bed = Bed::new(&Options {
        start_agent: false,
        start_remote_agent: false,
        ..Options::default()
    })?;
    // Nobody answers at service addresses then.
    let ways = |kinds: &[Kind]| {
        let all = all_ways(&bed).into_iter();
        let is_service = |port| [80, OPEN_SERVICE_PORT].contains(&port);
        all.filter(|way| kinds.contains(&way.kind) && !is_service(way.to.port()))
            .collect::<Vec<_>>()
    };
    let wire = Wire::watch(&bed)?;
    let load = Load::over(
        &bed,
        ways(&[Kind::LocalBypass, Kind::Plain, Kind::Passthrough]),
        100,
    )?;
    load.wait_for_more(5, PATIENCE)?;
    load.finish_whole(&wire)?;
    for kind in [Kind::DirectHbone, Kind::InboundHbone] {
        let before = wire.plaintext()?;
        let load = Load::over(&bed, ways(&[kind]), 50)?;
        load.wait_for_more(5, PATIENCE)?;
        let report = load.finish()?;
        report.ensure_whole()?;
        // Of each connection a SYN, at the least.
        let seen = wire.plaintext()? - before;
        ensure!(seen > report.begun(), "{seen} packets: {report}");
    }
    ensure!(wire.ensure_clean().is_err());
    Ok(())
}

#[test]
fn every_way_is_whole_and_none_is_plaintext_through_the_agent() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let wire = Wire::watch(&bed)?;
    let load = Load::start(&bed, 300)?;
    load.wait_for_more(50, PATIENCE)?;
    load.finish_whole(&wire)?;
    Ok(())
}
