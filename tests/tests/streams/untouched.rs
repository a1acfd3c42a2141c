//! What needs no tunnel is left as it is: no mark, no packet looked at twice, no tunnel.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use socket2::SockRef;
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::peers::{Server, Service};

use super::{PORT, echo};

const ROUNDS: u64 = 10;

/// What the tunnel and the packet programs have counted.
fn counted(bed: &Bed) -> Result<Vec<String>> {
    let (_, text) = admin::get(&bed.socket(), "/metrics")?;
    let ours = |line: &&str| {
        line.starts_with("waysteer_tunnel_") || line.starts_with("waysteer_packet_actions")
    };
    Ok(text.lines().filter(ours).map(str::to_owned).collect())
}

#[test]
fn passthrough_and_plain_tcp() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let mut servers = Vec::new();
    for pod in ["plain", "far-plain"] {
        servers.push(Server::start(
            &bed.pod(pod).netns,
            pod,
            PORT,
            Service::Echo,
        )?);
    }
    let external = &bed.topology.external;
    servers.push(Server::start(
        &external.netns,
        "external",
        PORT,
        Service::Echo,
    )?);
    let client = bed.pod("client");
    let wire = Capture::start(&bed.topology.node.netns, &[&client.veth])?;
    let before = counted(&bed)?;
    let bypassed = || bed.metric("waysteer_connections_opened", &[("path", "bypass")]);
    let opened = bypassed()?;
    let mut dialled = 0;
    for v6 in [false, true] {
        let addresses = [
            bed.address("plain", v6),
            bed.address("far-plain", v6),
            external.addresses.both()[usize::from(v6)],
        ];
        for address in addresses {
            let to = SocketAddr::new(address, PORT);
            for mark in [0, 0xbeef_0000] {
                for _ in 0..ROUNDS {
                    let connection = Dial::new().mark(mark).connect(&client.netns, to)?;
                    echo(&connection)?;
                    let found = SockRef::from(&connection.stream).mark()?;
                    ensure!(found == mark, "{to}: mark {found:#x}");
                    ensure!(connection.local.ip() == bed.address("client", v6));
                    dialled += 1;
                }
            }
            // Each connection left the pod as it is, and once.
            let syns = wire.sum_to(to).syns;
            ensure!(syns == 2 * ROUNDS, "{to}: {syns} SYNs");
        }
    }
    let after = counted(&bed)?;
    ensure!(before == after, "{before:#?} became {after:#?}");
    ensure!(
        bypassed()? - opened == dialled,
        "bypassed flows are counted"
    );
    Ok(())
}
