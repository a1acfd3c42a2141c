//! `waysteer monitor --drops`: why a connection hangs.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use waysteer_tests::bed::{self, Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::netns::NetNs;
use waysteer_tests::wait::{wait_for, wait_until};

use super::monitor::{Monitor, PATIENCE};

/// A connection that is still being made, and from where it is.
fn dialling(from: &NetNs, to: SocketAddr) -> Result<(Socket, SocketAddr)> {
    from.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
        let _ = socket.connect(&to.into());
        let local = socket.local_addr()?.as_socket().context("an address")?;
        Ok((socket, local))
    })
}

/// The next line about this connection.
fn hears_of(monitor: &Monitor, from: SocketAddr) -> Result<Value> {
    let from = Value::from(from.to_string());
    wait_for(PATIENCE, &format!("a line on {from}"), || {
        let line = monitor.lines.recv_timeout(PATIENCE).ok()?;
        let line: Value = serde_json::from_str(&line).ok()?;
        (line["source"] == from).then_some(line)
    })
}

#[test]
fn a_connection_that_hangs_is_told_with_its_pod_and_tuple() -> Result<()> {
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    // The tunnel ends, the agent does not.
    bed.ztunnels.last_mut().context("the tunnel")?.kill()?;
    let client = &bed.pod("client").netns;
    for v6 in [false, true] {
        let web = Bed::service(bed::WEB, v6);
        let monitor = Monitor::start(&bed, &["--drops", "--pod", "client", "-o", "json"])?;
        monitor.hears(&bed, "client", web)?;
        // Of others nothing is heard.
        let _other = dialling(&bed.pod("other").netns, web)?;
        let (_socket, local) = dialling(client, web)?;
        // Twice: it is sent again, and held again.
        let mut at = 0;
        for _ in 0..2 {
            let line = hears_of(&monitor, local)?;
            ensure!(line["type"] == "drop", "{line}");
            ensure!(line["pod"] == "default/client", "{line}");
            ensure!(line["action"] == "outbound_held", "{line}");
            ensure!(line["hook"] == "lo_ingress", "{line}");
            ensure!(line["destination"] == web.to_string(), "{line}");
            let service = line["service"].as_str().unwrap_or_default();
            ensure!(service.starts_with("default/web."), "{line}");
            let told = line["at"].as_u64().context("a time")?;
            ensure!(told > at, "{line} is not after {at}");
            at = told;
        }

        // From outside.
        let to = SocketAddr::new(bed.address("client", v6), 8080);
        let (_socket, local) = dialling(&bed.topology.external.netns, to)?;
        let line = hears_of(&monitor, local)?;
        ensure!(line["pod"] == "default/client", "{line}");
        ensure!(line["destination_workload"] == "default/client", "{line}");
        ensure!(line["destination"] == to.to_string(), "{line}");
        ensure!(
            line["action"] == "inbound_held" && line["hook"] == "pod_ingress",
            "{line}"
        );
        let (status, errors) = monitor.end(Signal::SIGINT)?;
        ensure!(status.success() && errors.is_empty(), "{status} {errors}");
    }

    // For people, and summed up.
    let web = Bed::service(bed::WEB, false);
    let monitor = Monitor::start(&bed, &["--drops", "--dst", "web"])?;
    let line = monitor.hears(&bed, "client", web)?;
    let shown = format!(" > {web} default/web.");
    ensure!(line.contains(&shown), "{line}");
    ensure!(
        line.contains("outbound_held  lo_ingress  Held: no"),
        "{line}"
    );
    monitor.end(Signal::SIGINT)?;
    let summary = Monitor::start(&bed, &["--drops", "--summary", "--seconds", "5"])?;
    let line = wait_for(PATIENCE, "the summary", || {
        let dial = Dial::new().nonblocking();
        let _ = dial
            .timeout(std::time::Duration::from_millis(100))
            .connect(&bed.pod("client").netns, web);
        let mut lines = summary.lines.try_iter();
        lines.find(|line| line.contains("default/client"))
    })?;
    ensure!(line.contains("default/client  outbound_held"), "{line}");

    // What was held is not lost.
    let (socket, _) = dialling(&bed.pod("client").netns, web)?;
    bed.start_ztunnel()?;
    let stream = TcpStream::from(socket);
    wait_until(PATIENCE, "the tunnel takes it up", || {
        stream.peer_addr().is_ok_and(|peer| peer == web)
    })?;
    Ok(())
}
