//! Connections that are open when the redirection that they hang on is taken away, while their
//! tunnel lives on: they end before. What an application writes afterwards must not go on in
//! plaintext, where its socket still points.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use socket2::SockRef;
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;

use super::{NOTHING, cleanup, run_cleanup};

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 8080;
/// Of the client's own listener.
const OWN_PORT: u16 = 8081;
const SECRET: &[u8] = b"secret-after-the-end";
/// What the pod has open, of both families: into the tunnel idle, marked anew, and busy; out of it.
const OPEN: usize = 2 * 4;

#[test]
fn they_end_when_an_agent_long_gone_is_cleaned_up_after() -> Result<()> {
    after(|bed| {
        bed.kill_agent()?;
        let would = run_cleanup(bed, &["--dry-run"])?;
        let line = format!("{OPEN} open connections of pod default/client");
        ensure!(would.contains(&format!("would end {line}")), "{would}");
        let done = cleanup(bed)?;
        ensure!(done.contains(&format!("ended {line}")), "{done}");
        ensure!(cleanup(bed)?.trim() == NOTHING);
        Ok(())
    })
}

#[test]
fn they_end_when_a_pod_that_lives_on_is_let_go() -> Result<()> {
    after(|bed| {
        bed.write_pods(&["server", "other"])?;
        wait_until(PATIENCE, "the pod is let go", || {
            let states = admin::pod_states(&bed.socket());
            states.is_ok_and(|states| states.keys().eq(["other", "server"].iter()))
        })
    })
}

struct Open {
    capture: Capture,
    idle: Vec<(SocketAddr, TcpStream)>,
    busy: Vec<JoinHandle<()>>,
}

fn after(end: impl FnOnce(&mut Bed) -> Result<()>) -> Result<()> {
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    let _far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    let veth = bed.pod("client").veth.clone();
    let mut open = Open {
        capture: Capture::start(&bed.topology.node.netns, &[&veth, Node::UPLINK])?,
        idle: Vec::new(),
        busy: Vec::new(),
    };
    for v6 in [false, true] {
        open.outbound(&bed, v6)?;
        open.inbound(&bed, v6)?;
    }
    end(&mut bed)?;
    ensure!(bed.ztunnels.iter_mut().all(|tunnel| tunnel.is_running()));
    open.check()?;
    // And the pod's network works, as it does without us.
    let far = SocketAddr::new(bed.address("far", false), PORT);
    let Connection { mut stream, .. } = Dial::new().connect(&bed.pod("client").netns, far)?;
    stream.write_all(b"plain")?;
    Ok(stream.read_exact(&mut [0; 5])?)
}

impl Open {
    fn outbound(&mut self, bed: &Bed, v6: bool) -> Result<()> {
        let to = SocketAddr::new(bed.address("far", v6), PORT);
        let client = &bed.pod("client").netns;
        for mark in [None, Some(7)] {
            let Connection { mut stream, .. } = Dial::new().connect(client, to)?;
            stream.write_all(b"before")?;
            stream.read_exact(&mut [0; 6])?;
            if let Some(mark) = mark {
                // Only the guard knows it now, by its verdict.
                SockRef::from(&stream).set_mark(mark)?;
            }
            self.idle.push((to, stream));
        }
        let Connection { stream, .. } = Dial::new().connect(client, to)?;
        // Nobody reads what comes back, so it has bytes to send at any time.
        self.busy.push(std::thread::spawn(move || {
            let words = [SECRET, &[0; 16_000]].concat();
            while (&stream).write_all(&words).is_ok() {}
        }));
        Ok(())
    }

    /// The application's end of a connection that comes out of the tunnel.
    fn inbound(&mut self, bed: &Bed, v6: bool) -> Result<()> {
        let own = SocketAddr::new(bed.address("client", v6), OWN_PORT);
        let listener = bed.pod("client").netns.run(|| TcpListener::bind(own))?;
        let Connection { mut stream, .. } = Dial::new().connect(&bed.pod("far").netns, own)?;
        stream.write_all(b"before")?;
        let (mut accepted, from) = listener.accept()?;
        accepted.set_read_timeout(Some(PATIENCE))?;
        accepted.read_exact(&mut [0; 6])?;
        self.idle.push((from, accepted));
        // The caller's end stays open.
        self.idle.push((own, stream));
        Ok(())
    }

    fn check(self) -> Result<()> {
        let Self {
            capture,
            mut idle,
            busy,
        } = self;
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
}
