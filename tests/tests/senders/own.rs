//! A pod that calls itself, and one that tries to change what it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::dial::Dial;

use super::watched::{PORT, Watched};

#[test]
fn a_pod_calls_itself() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    let loopback: [IpAddr; 3] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 9, 9, 9).into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for address in loopback {
        let to = SocketAddr::new(address, PORT);
        let connection = Dial::new().connect(client, to)?;
        let seen = watched.ask(&connection.stream)?;
        ensure!(seen.server == "client", "{to}: {seen:?}");
        ensure!(seen.client == connection.local, "{to}: {seen:?}");
    }
    // The kernel takes these for loopback.
    for any in [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ] {
        let to = SocketAddr::new(any, PORT);
        let connection = Dial::new().connect(client, to)?;
        let seen = watched.ask(&connection.stream)?;
        ensure!(seen.server == "client", "{to}: {seen:?}");
    }
    for v6 in [false, true] {
        let own = watched.pod("client", v6);
        let mark = watched.bed.mark()?;
        for dial in [
            Dial::new(),
            Dial::new().source(SocketAddr::new(own.ip(), 0)),
        ] {
            let connection = dial.connect(client, own)?;
            let seen = watched.ask(&connection.stream)?;
            ensure!(
                seen.server == "client" && seen.client == connection.local,
                "{seen:?}"
            );
        }
        watched.is_steered(own, mark, false)?;
        // Its own service leads through the tunnel and back.
        let vip = Bed::service(bed::OWN, v6);
        let connection = Dial::new().connect(client, vip)?;
        ensure!(connection.peer == vip, "{}", connection.peer);
        let seen = watched.ask(&connection.stream).context("its own service")?;
        ensure!(seen.server == "client", "{vip}: {seen:?}");
        ensure!(seen.client.ip() == own.ip(), "{vip}: {seen:?}");
        watched.nothing_leaked(vip)?;
    }
    Ok(())
}

#[test]
fn no_connect_of_a_pod_changes_what_it_is() -> Result<()> {
    let watched = Watched::new()?;
    let bed = &watched.bed;
    let enrolled = |bed: &Bed| bed.metric("waysteer_pods_enrolled", &[]);
    for (name, is_enrolled) in [("client", true), ("plain", false)] {
        let netns = &bed.pod(name).netns;
        for v6 in [false, true] {
            let far = watched.pod("far", v6);
            let mut tried = Vec::new();
            let magic: &[&str] = match v6 {
                // What others have used to talk to their own kernel programs.
                false => &[
                    "0.0.0.1",
                    "127.128.0.1",
                    "127.0.0.6",
                    "169.254.7.127",
                    "240.0.0.1",
                    "255.255.255.255",
                ],
                true => &[
                    "::2",
                    "::6",
                    "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
                    "ff02::1",
                ],
            };
            for address in magic {
                tried.push(address.parse()?);
            }
            tried.push(bed.address(name, v6));
            tried.push(if v6 {
                IpAddr::from(Ipv6Addr::LOCALHOST)
            } else {
                Ipv4Addr::LOCALHOST.into()
            });
            for address in tried {
                for port in [39_807, 39_808, 15_001, 15_006, 15_008, 0x57e, 0x539] {
                    // Whether it is refused, fails or hangs is nobody's concern here.
                    let dial = Dial::new().nonblocking().timeout(Duration::from_millis(20));
                    let _ = dial.connect(netns, SocketAddr::new(address, port));
                }
            }
            ensure!(enrolled(bed)? == 3);
            let mark = bed.mark()?;
            let connection = Dial::new().connect(netns, far)?;
            if is_enrolled {
                watched.ask_far(&connection.stream, far)?;
                watched.is_steered(far, mark, true)?;
            } else {
                watched.ask(&connection.stream)?;
                let flows = admin::flows(&bed.socket(), mark)?;
                let judged = flows
                    .iter()
                    .find(|flow| flow.destination == far.to_string());
                ensure!(judged.is_none(), "{judged:?}");
            }
        }
    }
    Ok(())
}
