//! `waysteer cleanup`, where the tunnel outlives the agent.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::Bed;
use waysteer_tests::process::binary;
use waysteer_tests::wait::wait_until;
use waysteer_tests::zds::{Peer, Request};

use super::{PATIENCE, PODS, bed, wait_enrolled, wait_until_listening};

fn cleanup(bed: &Bed) -> Result<String> {
    let mut command = Command::new(binary("waysteer")?);
    command
        .arg("cleanup")
        .arg("--pin-root")
        .arg(bed.pins.path())
        .arg("--socket")
        .arg(bed.socket())
        .arg("--tunnel-socket")
        .arg(bed.zds_socket());
    let output = command.output().context("waysteer cleanup")?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

#[test]
fn a_running_agent_takes_its_pods_from_ztunnel() -> Result<()> {
    let mut bed = bed()?;
    let peer = Peer::start(&bed.zds_socket())?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    wait_enrolled(&bed, &PODS)?;
    cleanup(&bed)?;
    peer.wait(PATIENCE, "the end", |seen| seen.closed)?;
    let mut deleted = Vec::new();
    for request in peer.finish()?.requests {
        if let Request::Del { uid } = request {
            deleted.push(uid);
        }
    }
    deleted.sort_unstable();
    ensure!(deleted == PODS, "{deleted:?}");
    ensure!(!bed.zds_socket().exists());
    let mut agent = bed.agent.take().context("the agent")?;
    wait_until(PATIENCE, "the agent has ended", || !agent.is_running())
}

#[test]
fn the_socket_of_a_killed_agent_goes_too() -> Result<()> {
    let mut bed = bed()?;
    wait_until_listening(&bed)?;
    bed.agent.take().context("the agent")?.kill()?;
    let socket = bed.zds_socket();
    ensure!(socket.exists());
    let text = cleanup(&bed)?;
    ensure!(text.contains(&socket.display().to_string()), "{text}");
    ensure!(!socket.exists());
    ensure!(cleanup(&bed)?.trim() == "there is nothing of waysteer here");
    Ok(())
}
