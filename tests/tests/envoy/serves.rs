//! What goes through.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::TCP_PORT;
use waysteer_tests::dial::Dial;
use waysteer_tests::envoy::VIA;
use waysteer_tests::http;

use super::{BANNER, Behind, Way};

const KEPT: usize = 200;
const NEW: usize = 50;

#[test]
fn requests_on_kept_and_on_new_connections() -> Result<()> {
    let Some(behind) = Behind::new()? else {
        return Ok(());
    };
    for v6 in [false, true] {
        for way in behind.ways(v6) {
            let mark = behind.bed.mark()?;
            for _ in 0..NEW {
                requests(&behind, &way, 1).with_context(|| format!("new, to {}", way.to))?;
            }
            requests(&behind, &way, KEPT).with_context(|| format!("kept, to {}", way.to))?;
            let verdict = behind.bed.flow_to(way.to, mark)?;
            let waypoint = SocketAddr::new(behind.bed.address(way.waypoint, v6), 15008);
            ensure!(
                verdict.class == "ToServerWaypoint"
                    && verdict.steered
                    && verdict.next_hop == Some(waypoint.to_string()),
                "{verdict:?}"
            );
        }
    }
    behind.ensure_hidden(b"/secret")?;
    // From the client to each waypoint and from there to its server, in both families.
    for capture in &behind.captures {
        ensure!(!capture.hbone().is_empty(), "no HBONE was seen");
    }
    Ok(())
}

/// So many, one after the other, on one connection.
fn requests(behind: &Behind, way: &Way, count: usize) -> Result<()> {
    let connection = Dial::new().connect(behind.client(), way.to)?;
    ensure!(
        connection.peer == way.to,
        "getpeername: {}",
        connection.peer
    );
    let v6 = way.to.is_ipv6();
    let (key, value) = VIA;
    for number in 0..count {
        let path = format!("/secret-{number}");
        let response = http::get(&connection.stream, "service", &path)
            .with_context(|| format!("request {number}"))?;
        ensure!(response.status == 200, "{number}: {response:?}");
        let header = response.headers.get(key).map(String::as_str);
        ensure!(header == Some(value), "{number}: {response:?}");
        let seen = response.seen()?;
        let client = behind.bed.address("client", v6).to_string();
        ensure!(
            seen.server == way.server
                && seen.path == path
                && seen.headers.get("x-forwarded-for") == Some(&client),
            "{number}: {seen:?}"
        );
        // Envoy speaks for the client; its own address is the one of the connection.
        let waypoint = behind.bed.address(way.waypoint, v6);
        ensure!(seen.client.ip() == waypoint, "{number}: {seen:?}");
    }
    Ok(())
}

#[test]
fn a_server_may_speak_first() -> Result<()> {
    let Some(behind) = Behind::new()? else {
        return Ok(());
    };
    for v6 in [false, true] {
        for way in behind.ways(v6) {
            let to = SocketAddr::new(way.to.ip(), TCP_PORT);
            banner(&behind, to).with_context(|| format!("to {to}"))?;
        }
    }
    behind.ensure_hidden(BANNER)?;
    behind.ensure_hidden(b"EHLO")
}

fn banner(behind: &Behind, to: SocketAddr) -> Result<()> {
    let mut stream = Dial::new().connect(behind.client(), to)?.stream;
    let mut banner = vec![0; BANNER.len()];
    stream.read_exact(&mut banner).context("the banner")?;
    ensure!(banner == BANNER, "{banner:?}");
    stream.write_all(b"EHLO")?;
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).context("the echo")?;
    ensure!(&echo == b"EHLO", "{echo:?}");
    Ok(())
}
