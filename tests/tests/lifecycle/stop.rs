//! An agent that is told to end, and what it then leaves.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::traces::{difference, state_of};
use waysteer_tests::wait::wait_until;

use super::{PATIENCE, options};

/// Enrolled by the agent under test.
const PODS: [&str; 3] = ["client", "other", "server"];

#[test]
fn it_undoes_everything_where_it_is_told_to() -> Result<()> {
    for tunnel in [TunnelKind::StandIn, TunnelKind::Embedded] {
        let options = Options {
            tunnel,
            extra: "on_stop = \"undo\"".to_owned(),
            start_agent: false,
            ..options()
        };
        let mut bed = Bed::new(&options)?;
        let before = states(&bed, &PODS)?;
        bed.start_agent()?;
        if tunnel == TunnelKind::StandIn {
            bed.start_ztunnel()?;
        }
        bed.wait_until_ready()?;
        ensure!(states(&bed, &PODS)? != before, "nothing was done");
        bed.stop_agent()?;
        ensure!(bed.pins.list()?.is_empty(), "{:?}", bed.pins.list()?);
        // A ztunnel is told that its pods are gone, and closes their ports.
        let mut after = Vec::new();
        wait_until(PATIENCE, "the pods are as before", || {
            after = states(&bed, &PODS).unwrap_or_default();
            after == before
        })
        .map_err(|error| error.context(differences(&before, &after)))?;
        uncaptured(&bed)?;
    }
    Ok(())
}

#[test]
fn the_embedded_tunnel_is_stopped_and_started_as_ever() -> Result<()> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        ..Options::default()
    })?;
    let before = states(&bed, &PODS)?;
    for _ in 0..2 {
        bed.start_agent()?;
        bed.wait_until_ready()?;
        ensure!(states(&bed, &PODS)? != before, "nothing was done");
        bed.stop_agent()?;
        let after = states(&bed, &PODS)?;
        ensure!(after == before, "{}", differences(&before, &after));
        uncaptured(&bed)?;
    }
    Ok(())
}

pub(crate) fn states(bed: &Bed, pods: &[&str]) -> Result<Vec<Vec<String>>> {
    pods.iter()
        .map(|pod| state_of(&bed.pod(pod).netns))
        .collect()
}

pub(crate) fn differences(before: &[Vec<String>], after: &[Vec<String>]) -> String {
    let pods = before.iter().zip(after);
    pods.map(|(before, after)| difference(before, after))
        .collect()
}

/// A pod reaches itself, a neighbour and others directly: nothing of ours is in the way.
pub(crate) fn uncaptured(bed: &Bed) -> Result<()> {
    let mut servers = Vec::new();
    for name in ["client", "server", "far-plain"] {
        let netns = &bed.pod(name).netns;
        servers.push(Server::start(netns, name, 8080, Service::Http)?);
    }
    for v6 in [false, true] {
        for name in ["client", "server", "far-plain"] {
            let to = SocketAddr::new(bed.address(name, v6), 8080);
            let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
            let seen = http::get(&connection.stream, "any", "/")?.seen()?;
            ensure!(seen.client == connection.local, "{seen:?}");
        }
    }
    Ok(())
}
