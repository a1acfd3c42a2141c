//! SYN cookies, for every connection or when too many are half open: there is no request socket, and
//! the third packet of the handshake must find the tunnel too.

use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::foreign::Foreign;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::raw::send_syns;

use super::{PORT, echo};

const ROUNDS: u64 = 20;
/// More than the tunnel's listener keeps.
const HALF_OPEN: u16 = 5_000;
/// From this one on the external host sees no answers.
const FIRST_HIDDEN: u16 = 40_000;

fn force_cookies(netns: &NetNs) -> Result<()> {
    netns.set_sysctl("net/ipv4/tcp_syncookies", "2")
}

/// Cookies that came back valid, in a namespace.
fn cookies_received(netns: &NetNs) -> Result<u64> {
    let text = netns.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next(), lines.next());
    let names = names.context("no TcpExt")?.split(' ');
    let mut pairs = names.zip(values.context("no values")?.split(' '));
    let found = pairs.find(|(name, _)| *name == "SyncookiesRecv");
    Ok(found.context("no SyncookiesRecv")?.1.parse()?)
}

fn repeat(from: &NetNs, to: SocketAddr) -> Result<()> {
    for round in 0..ROUNDS {
        let connection = Dial::new().connect(from, to);
        let connection = connection.with_context(|| format!("{to}, round {round}"))?;
        echo(&connection).with_context(|| format!("{to}, round {round}"))?;
    }
    Ok(())
}

#[test]
fn outbound() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let client = &bed.pod("client").netns;
    force_cookies(client)?;
    let far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    // On the port that is dialled: what misses the tunnel would end here.
    let astray = Server::start(client, "astray", 80, Service::Echo)?;
    for v6 in [false, true] {
        let before = cookies_received(client)?;
        repeat(client, Bed::service(bed::WEB, v6))?;
        let cookies = cookies_received(client)? - before;
        ensure!(cookies >= ROUNDS, "{cookies} cookies");
    }
    ensure!(far.accepted().len() as u64 == 2 * ROUNDS);
    ensure!(astray.accepted().is_empty());
    Ok(())
}

#[test]
fn inbound() -> Result<()> {
    let bed = Bed::new(&Options {
        direct_local: "tunnel",
        ..Options::default()
    })?;
    let server = &bed.pod("server").netns;
    force_cookies(server)?;
    let _server = Server::start(server, "server", PORT, Service::Echo)?;
    let plain = || bed.metric("waysteer_tunnel_inbound_plain", &[]);
    let hbone = || bed.metric("waysteer_tunnel_inbound_hbone", &[]);
    for v6 in [false, true] {
        // From outside, by port 15006.
        let (cookies, connections) = (cookies_received(server)?, plain()?);
        repeat(
            &bed.topology.external.netns,
            SocketAddr::new(bed.address("server", v6), PORT),
        )?;
        // The tunnel's own connection to the application is one more each.
        let cookies = cookies_received(server)? - cookies;
        ensure!(cookies >= 2 * ROUNDS, "{cookies} cookies");
        ensure!(plain()? - connections == ROUNDS);
        // From a neighbour, by port 15008.
        let (cookies, connections) = (cookies_received(server)?, hbone()?);
        repeat(&bed.pod("client").netns, Bed::service(bed::WEB_LOCAL, v6))?;
        let cookies = cookies_received(server)? - cookies;
        // HBONE connections are pooled.
        ensure!(cookies > ROUNDS, "{cookies} cookies");
        ensure!(hbone()? - connections == ROUNDS);
    }
    Ok(())
}

/// As the kernel does by itself.
#[test]
fn inbound_when_the_queue_is_full() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let server = &bed.pod("server").netns;
    let _server = Server::start(server, "server", PORT, Service::Echo)?;
    let external = &bed.topology.external;
    let range = format!("20000 {}", FIRST_HIDDEN - 1);
    let sysctl = "net/ipv4/ip_local_port_range";
    external.netns.set_sysctl(sysctl, &range)?;
    let plain = || bed.metric("waysteer_tunnel_inbound_plain", &[]);
    let are_possible = || bed.metric("waysteer_syn_cookies_possible", &[]);
    ensure!(are_possible()? == 0);
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("server", v6), PORT);
        let from = external.addresses.like(to.ip());
        let hidden = SocketAddr::new(from, FIRST_HIDDEN);
        let _hidden = Foreign::dropping_from(&external.netns, "eth0", hidden)?;
        let (cookies, connections) = (cookies_received(server)?, plain()?);
        for _ in 0..3 {
            // Some of those before may have been given up.
            let ports = FIRST_HIDDEN..FIRST_HIDDEN + HALF_OPEN;
            send_syns(&external.netns, from, ports, to)?;
            repeat(&external.netns, to)?;
        }
        let cookies = cookies_received(server)? - cookies;
        ensure!(cookies >= ROUNDS, "{cookies} cookies");
        ensure!(plain()? - connections == 3 * ROUNDS);
        ensure!(are_possible()? == 1);
    }
    Ok(())
}
