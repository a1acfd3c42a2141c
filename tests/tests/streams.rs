//! Load, long streams, and how connections begin and end, through the tunnel and past it.

mod apart;
mod bulk;
mod cookies;
mod counted;
mod crowd;
mod ends;
mod local;
mod past;
mod untouched;
mod vanished;

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::dial::Connection;

/// Where the far end of each path listens.
const PORT: u16 = 8080;

/// One of the ways from `client` to a server.
struct Path {
    name: &'static str,
    /// The pod with the server, and its port.
    server: (&'static str, u16),
    to: SocketAddr,
}

impl Path {
    /// A waypoint ends a tunnel whose server was closed in the same way as one whose server was
    /// reset, so this is all that the client's tunnel can know.
    fn hides_resets(&self) -> bool {
        self.name.contains("waypoint")
    }
}

/// All ways, of one family: HBONE to another node, through a waypoint, and on this node, past the
/// tunnel to a neighbour and to a service of his, and plain TCP.
fn paths(bed: &Bed, v6: bool) -> [Path; 7] {
    let pod = |name, port| SocketAddr::new(bed.address(name, v6), port);
    let path = |name, server, to| Path { name, server, to };
    [
        path("HBONE", ("far", PORT), Bed::service(bed::WEB, v6)),
        path("waypoint", ("far", 80), Bed::service(bed::SHOP, v6)),
        path("workload waypoint", ("behind", PORT), pod("behind", PORT)),
        path(
            "HBONE on this node",
            ("client", PORT),
            Bed::service(bed::OWN, v6),
        ),
        path(
            "bypass to a service",
            ("server", PORT),
            Bed::service(bed::WEB_LOCAL, v6),
        ),
        path("bypass", ("server", PORT), pod("server", PORT)),
        path("plain", ("far-plain", PORT), pod("far-plain", PORT)),
    ]
}

/// Sends a word and gets it back.
fn echo(connection: &Connection) -> Result<()> {
    (&connection.stream).write_all(b"hello")?;
    let mut answer = [0; 5];
    (&connection.stream)
        .read_exact(&mut answer)
        .context("the echo")?;
    ensure!(&answer == b"hello");
    Ok(())
}
