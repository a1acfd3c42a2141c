//! SYN cookies for every connection: there is no request socket, and the third packet of the
//! handshake must find the tunnel too.

use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};

use super::{PORT, echo};

const ROUNDS: u64 = 20;

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
