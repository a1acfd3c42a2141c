//! Connections that are open when their pod is let go or the agent ends: they end too. What the
//! application writes afterwards must not go on in plaintext, where its socket still points.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;

const PORT: u16 = 8080;
const SECRET: &[u8] = b"secret-after-the-end";

#[test]
fn open_connections_end_with_the_pods_capture() -> Result<()> {
    after(|bed| {
        bed.write_pods(&["server", "other"])?;
        wait_until(Duration::from_secs(10), "the pod is let go", || {
            let enrolled = bed.metric("waysteer_pods_enrolled", &[]);
            enrolled.is_ok_and(|enrolled| enrolled == 2)
        })?;
        // The last of what is undone.
        let client = &bed.pod("client").netns;
        wait_until(Duration::from_secs(10), "its rules are gone", || {
            let rules = client.command("ip").args(["rule", "list"]).output();
            rules.is_ok_and(|rules| !String::from_utf8_lossy(&rules.stdout).contains("fwmark"))
        })
    })
}

#[test]
fn open_connections_end_with_the_agent() -> Result<()> {
    after(Bed::stop_agent)
}

fn after(end: impl FnOnce(&mut Bed) -> Result<()>) -> Result<()> {
    let mut bed = Bed::new(&Options::default())?;
    let echo = Service::Echo;
    let _far = Server::start(&bed.pod("far").netns, "far", PORT, echo)?;
    let veth = bed.pod("client").veth.clone();
    let capture = Capture::start(&bed.topology.node.netns, &[&veth, Node::UPLINK])?;
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("far", v6), PORT);
        let client = &bed.pod("client").netns;
        let Connection { mut stream, .. } = Dial::new().connect(client, to)?;
        stream.write_all(b"before")?;
        stream.read_exact(&mut [0; 6])?;
        idle.push((to, stream));
        // The tunnel has accepted it, and waits for a waypoint to appear.
        let lost = Bed::service(bed::LOST, v6);
        idle.push((lost, Dial::new().connect(client, lost)?.stream));
        let Connection { stream, .. } = Dial::new().connect(client, to)?;
        // Nobody reads what comes back, so the tunnel is left with bytes both ways.
        busy.push(std::thread::spawn(move || {
            while (&stream)
                .write_all(&[SECRET, &[0; 16_000]].concat())
                .is_ok()
            {}
        }));
    }
    end(&mut bed)?;
    for (to, stream) in &mut idle {
        // Whether the application has noticed or not.
        let _ = stream.write_all(SECRET);
        let rest = stream.read(&mut [0; 64]);
        ensure!(!matches!(rest, Ok(1..)), "{to}: {rest:?}");
    }
    for client in busy {
        client.join().map_err(|_| anyhow!("the client panicked"))?;
    }
    for (to, _) in &idle {
        let on_wire = capture.sum_to(*to);
        ensure!(on_wire.bytes == 0, "{to}: {on_wire:?}");
    }
    let seen = capture.seen(SECRET);
    ensure!(seen.is_empty(), "in plaintext on {seen:?}");
    Ok(())
}
