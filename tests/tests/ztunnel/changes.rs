//! What comes and goes: ztunnels, agents, pods.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::load::{Kind, Load, Wire, all_ways};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::{wait_for, wait_until};
use waysteer_tests::ztunnel::Ztunnel;

use super::{PATIENCE, bed};

/// None of the load's.
const PORT: u16 = 8081;

fn wait_for_connections(bed: &Bed, number: u64) -> Result<()> {
    wait_until(PATIENCE, &format!("{number} ztunnels"), || {
        bed.metric("waysteer_ztunnel_connections", &[])
            .is_ok_and(|connections| connections == number)
    })
}

#[test]
fn a_new_ztunnel_takes_over_and_the_old_ones_streams_go_on() -> Result<()> {
    let Some(bed) = bed(Options::default())? else {
        return Ok(());
    };
    let old = Ztunnel::start(&bed, "old")?;
    bed.wait_until_ready()?;
    let wire = Wire::watch(&bed)?;
    let load = Load::start(&bed, 200)?;
    load.wait_for_more(20, PATIENCE)?;
    let new = Ztunnel::start(&bed, "new")?;
    let new_pid = u64::from(new.process.id());
    wait_for(PATIENCE, "the new one has all pods", || {
        let (_, body) = admin::get(&bed.socket(), "/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&body).ok()?;
        let newest = status["tunnel"]["connected"].as_array()?.last()?.clone();
        let is_new = newest["pid"].as_u64()? == new_pid;
        (is_new && newest["acknowledged"] == 3 && newest["snapshot_sent"] == true).then_some(())
    })?;
    load.wait_for_more(20, PATIENCE)?;
    // It stops to listen, and lets what it has go on for a while.
    old.process.signal(Signal::SIGTERM)?;
    wait_for_connections(&bed, 1)?;
    load.wait_for_more(20, PATIENCE)?;
    load.finish_whole(&wire)?;
    ensure!(bed.metric("waysteer_pods", &[("state", "enrolled")])? == 3);
    Ok(())
}

#[test]
fn while_no_ztunnel_runs_connections_are_held() -> Result<()> {
    let Some(bed) = bed(Options::default())? else {
        return Ok(());
    };
    let mut ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let wire = Wire::watch(&bed)?;
    let others = all_ways(&bed)
        .into_iter()
        .filter(|way| !Kind::TUNNELLED.contains(&way.kind))
        .collect();
    let load = Load::over(&bed, others, 100)?;
    let serve = |pod: &str| Server::start(&bed.pod(pod).netns, pod, PORT, Service::Http);
    let _servers = [serve("far")?, serve("server")?];
    ztunnel.process.kill()?;
    wait_for_connections(&bed, 0)?;
    let (code, body) = admin::get(&bed.socket(), "/readyz")?;
    ensure!(
        code == 503 && body.contains("no ztunnel is connected"),
        "{body}"
    );
    ensure!(bed.metric("waysteer_pods", &[("state", "pending")])? == 3);
    ensure!(bed.metric("waysteer_pods_enrolled", &[])? == 0);
    let mut held = Vec::new();
    for v6 in [false, true] {
        // Out of the node, and into it.
        for (from, server) in [("client", "far"), ("far", "server")] {
            let to = SocketAddr::new(bed.address(server, v6), PORT);
            let client = bed.pod(from).netns.spawn("held", move || {
                let connection = Dial::new().timeout(PATIENCE).connect_here(to)?;
                http::get(&connection.stream, server, "/held")?.seen()
            })?;
            held.push((client, server));
        }
    }
    for action in ["outbound_held", "inbound_held"] {
        wait_until(PATIENCE, &format!("{action} SYNs"), || {
            bed.metric("waysteer_packet_actions", &[("action", action)])
                .is_ok_and(|held| held >= 4)
        })?;
    }
    ensure!(held.iter().all(|(client, _)| !client.is_finished()));
    load.wait_for_more(10, PATIENCE)?;
    let _again = Ztunnel::start(&bed, "again")?;
    for (client, server) in held {
        let seen = client
            .join()
            .map_err(|_| anyhow!("the client panicked"))??;
        ensure!(seen.server == server, "{seen:?}");
    }
    bed.wait_until_ready()?;
    load.finish_whole(&wire)?;
    Ok(())
}

#[test]
fn pods_come_and_go() -> Result<()> {
    let Some(bed) = bed(Options::default())? else {
        return Ok(());
    };
    let ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let listeners = |pod: &str| -> Result<usize> {
        let mut command = bed.pod(pod).netns.command("ss");
        let output = command.args(["-Hltn"]).output().context("ss")?;
        let text = String::from_utf8(output.stdout)?;
        let ports = ["15001", "15006", "15008"];
        let is_ours = |line: &&str| ports.iter().any(|port| line.contains(&format!(":{port} ")));
        Ok(text.lines().filter(is_ours).count())
    };
    ensure!(listeners("other")? == 3);
    for _ in 0..5 {
        bed.write_pods(&["client", "server"])?;
        wait_until(PATIENCE, "the ports are closed", || {
            listeners("other").is_ok_and(|ports| ports == 0)
        })?;
        bed.write_pods(&["client", "server", "other"])?;
        wait_until(PATIENCE, "the ports are open", || {
            listeners("other").is_ok_and(|ports| ports == 3)
        })?;
        bed.wait_until_ready()?;
    }
    ensure!(ztunnel.process.log().contains("pod delete request"));
    ensure!(
        bed.metric(
            "waysteer_ztunnel_messages",
            &[("kind", "del"), ("result", "ack")]
        )? == 5
    );
    ensure!(bed.metric("waysteer_ztunnel_messages", &[("result", "nack")])? == 0);
    Ok(())
}
