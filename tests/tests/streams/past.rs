//! What is kept of connections between `connect()` and their end.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use waysteer::address::to_wire;
use waysteer::kernel::contents::Contents;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::value::{ConnectionValue, LocalConnectionValue};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::{Dial, disconnect};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;
use zerocopy::IntoBytes as _;

use super::PORT;
use super::counted::{Leave, exchange_bytes};
use crate::adoption::look;
use crate::redirect::classes::check_every_class;

const PATIENCE: Duration = Duration::from_secs(20);
fn map(bed: &Bed, name: &str) -> Result<PathBuf> {
    Ok(look::generation(bed)?.join("maps").join(name))
}

/// How many connections the kernel knows by their slots.
fn known(bed: &Bed) -> Result<usize> {
    let generation = look::generation(bed)?;
    let root = generation.parent().context("a generation is in a root")?;
    Ok(Contents::open(root)?.connections()?.len())
}

/// Writes keys and values as hexadecimal bytes.
fn fill(bed: &Bed, map: &Path, lines: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<()> {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, " {byte:02x}");
            text
        })
    };
    let mut batch = String::new();
    for (key, value) in lines {
        let (key, value) = (hex(&key), hex(&value));
        let map = map.display();
        writeln!(
            batch,
            "map update pinned {map} key hex{key} value hex{value}"
        )?;
    }
    let path = bed.scratch.path().join("batch");
    std::fs::write(&path, batch)?;
    let mut command = Command::new("bpftool");
    command.args(["batch", "file"]).arg(&path);
    look::output(command)?;
    Ok(())
}

/// Which maps let connections in past the tunnel, once for each.
fn let_in(bed: &Bed) -> Result<Vec<&'static str>> {
    let generation = look::generation(bed)?;
    let root = generation.parent().context("a generation is in a root")?;
    Ok(Contents::open(root)?.let_in()?.into_values().collect())
}

/// From now on every slot for those that are let in is somebody else's.
fn take_all_let_in(bed: &Bed) -> Result<()> {
    let taken = LocalConnectionValue {
        // It will be long before that is long ago.
        recorded_at: u64::MAX / 2,
        ..LocalConnectionValue::default()
    };
    let slot = |slot: u32| (slot.to_ne_bytes().to_vec(), taken.as_bytes().to_vec());
    let map = map(bed, "LOCAL_CONNECTIONS")?;
    fill(bed, &map, (0..LocalConnectionValue::SLOTS).map(slot))
}

/// From now on every slot is somebody else's.
fn take_all(bed: &Bed) -> Result<()> {
    take_all_let_in(bed)?;
    let taken = ConnectionValue {
        // No socket has it.
        cookie: ConnectionValue::BUSY - 1,
        is_open: 1,
        ..ConnectionValue::default()
    };
    let slot = |slot: u32| (slot.to_ne_bytes().to_vec(), taken.as_bytes().to_vec());
    let map = map(bed, "CONNECTIONS")?;
    fill(bed, &map, (0..ConnectionValue::SLOTS).map(slot))
}

/// By the cookie of the application's socket.
#[test]
fn the_tunnel_finds_what_the_kernel_has_decided() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    let judged_again = || bed.metric("waysteer_tunnel_outbound_reclassified", &[]);
    let before = judged_again()?;
    let [v4, v6] = [false, true].map(|v6| SocketAddr::new(bed.address("far", v6), PORT));
    for (far, dial) in [
        (v4, Dial::new()),
        (v6, Dial::new()),
        (v4, Dial::new().mapped()),
        (v4, Dial::new().device("eth0")),
        (v6, Dial::new().device("eth0")),
    ] {
        for _ in 0..5 {
            let connection = dial.connect(&bed.pod("client").netns, far)?;
            exchange_bytes(connection, Leave::First, 10)?;
        }
    }
    ensure!(judged_again()? == before, "without being taken");
    take_all(&bed)?;
    let connection = Dial::new().connect(&bed.pod("client").netns, v4)?;
    exchange_bytes(connection, Leave::First, 10)?;
    ensure!(judged_again()? == before + 1, "it is told by the slot only");
    Ok(())
}

#[test]
fn connections_whose_slots_are_taken_go_the_same_ways() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    take_all(&bed)?;
    check_every_class(&bed)?;
    // What has taken them is the same everywhere.
    ensure!(known(&bed)? == 1, "something has a slot");
    Ok(())
}

/// One socket, three times: steered; to loopback, which nobody judges; and steered again.
#[test]
fn a_socket_that_is_used_again_is_counted_for_what_was_judged() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let client = &bed.pod("client").netns;
    let _far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    let _own = Server::start(client, "client", PORT, Service::Echo)?;
    let far = SocketAddr::new(bed.address("far", false), PORT);
    let counted = || -> Result<[u64; 2]> {
        let opened = bed.metric("waysteer_connections_opened", &[])?;
        Ok([opened, bed.metric("waysteer_connections_closed", &[])?])
    };
    let before = counted()?;
    let stream = Dial::new().connect(client, far)?.stream;
    disconnect(&stream)?;
    SockRef::from(&stream).connect(&SocketAddr::from(([127, 0, 0, 1], PORT)).into())?;
    disconnect(&stream)?;
    ensure!(counted()? == before.map(|count| count + 1), "loopback");
    SockRef::from(&stream).connect(&far.into())?;
    // Ends it at once, as before.
    disconnect(&stream)?;
    let (expected, found) = (before.map(|count| count + 2), counted()?);
    ensure!(found == expected, "{before:?}, then {found:?}");
    Ok(())
}

#[test]
fn an_entry_a_connection_and_none_when_it_ends() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let client = &bed.pod("client").netns;
    let start = |pod: &str| Server::start(&bed.pod(pod).netns, pod, PORT, Service::Echo);
    let _servers = [start("far-plain")?, start("far")?];
    let none_is_left = || {
        wait_until(PATIENCE, "no entry is left", || {
            known(&bed).is_ok_and(|left| left == 0)
        })
    };
    for v6 in [false, true] {
        for pod in ["far-plain", "far"] {
            let to = SocketAddr::new(bed.address(pod, v6), PORT);
            for leave in [Leave::First, Leave::AtOnce, Leave::Reset] {
                let connection = Dial::new().connect(client, to)?;
                ensure!(known(&bed)? == 1, "{to}: none while it is open");
                exchange_bytes(connection, leave, 10)?;
                none_is_left().with_context(|| format!("{to}, leaves {leave:?}"))?;
            }
        }
        // Refused, and no way there.
        let refused = SocketAddr::new(bed.address("far-plain", v6), 9);
        for address in [refused, nowhere(v6)] {
            let dial = Dial::new().timeout(Duration::from_secs(1));
            ensure!(dial.connect(client, address).is_err(), "{address} answers");
            none_is_left().with_context(|| format!("{address}"))?;
        }
    }
    Ok(())
}

/// Nobody has told the kernel of a way to the addresses that are reserved.
fn nowhere(v6: bool) -> SocketAddr {
    let address = if v6 { "[100::1]:80" } else { "240.0.0.1:80" };
    address.parse().expect("an address")
}

/// The client's last packet is sent by what the kernel keeps of it in TIME_WAIT, which has no verdict.
#[test]
fn a_verdict_a_connection_whoever_ends_it() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let verdicts = || bed.metric("waysteer_verdicts", &[]);
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("far-plain", v6), PORT);
        let listener = bed.pod("far-plain").netns.run(|| TcpListener::bind(to))?;
        let before = verdicts()?;
        let client = Dial::new().connect(&bed.pod("client").netns, to)?;
        let (mut server, _) = listener.accept()?;
        drop(client);
        ensure!(server.read(&mut [0])? == 0);
        // Until its end is acknowledged, which may take as long as acknowledgements are delayed.
        std::thread::sleep(Duration::from_millis(200));
        drop(server);
        let now = verdicts()?;
        ensure!(now == before + 1, "{to}: {before}, then {now}");
    }
    Ok(())
}

/// The client's last packet, which TIME_WAIT sends, need not be let in any more.
#[test]
fn a_bypass_to_a_neighbour_is_let_in_once() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let recorded = || {
        let action = [("action", "local_flow_recorded")];
        bed.metric("waysteer_packet_actions", &action)
    };
    let to = SocketAddr::new(bed.address("server", false), PORT);
    let listener = bed.pod("server").netns.run(|| TcpListener::bind(to))?;
    let before = recorded()?;
    let client = Dial::new().connect(&bed.pod("client").netns, to)?;
    let (mut server, _) = listener.accept()?;
    let found = let_in(&bed)?;
    ensure!(found == ["LOCAL_CONNECTIONS"], "while it lasts: {found:?}");
    drop(client);
    ensure!(server.read(&mut [0])? == 0);
    // Until its end is acknowledged, which may take as long as acknowledgements are delayed.
    std::thread::sleep(Duration::from_millis(200));
    drop(server);
    let now = recorded()?;
    ensure!(now == before + 1, "{before}, then {now}");
    wait_until(PATIENCE, "nothing is let in any more", || {
        let_in(&bed).is_ok_and(|left| left.is_empty())
    })?;

    // Where its slot is another one's.
    take_all_let_in(&bed)?;
    let _client = Dial::new().connect(&bed.pod("client").netns, to)?;
    listener.accept()?;
    let found = let_in(&bed)?;
    ensure!(found.contains(&"LOCAL_FLOWS"), "{found:?}");
    ensure!(recorded()? == now + 1, "{now}, then more than one");
    Ok(())
}

/// Of an earlier connection between the same ports, whose end nobody saw.
#[test]
fn what_is_out_of_date_does_not_keep_a_bypass_out() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let source = SocketAddr::new(bed.address("client", false), 40_000);
    let to = SocketAddr::new(bed.address("server", false), PORT);
    let _server = Server::start(&bed.pod("server").netns, "server", PORT, Service::Echo)?;
    take_all(&bed)?;
    let [from, target] = [source, to].map(|end| to_wire(end.ip()));
    let tuple = TupleKey::new(from, source.port(), target, to.port());
    let old = LocalConnectionValue {
        recorded_at: 1,
        tuple,
        ..LocalConnectionValue::default()
    };
    let slot = LocalConnectionValue::slot(&tuple).to_ne_bytes().to_vec();
    let map = map(&bed, "LOCAL_CONNECTIONS")?;
    fill(&bed, &map, [(slot, old.as_bytes().to_vec())].into_iter())?;
    let passed = || bed.metric("waysteer_packet_actions", &[("action", "exempt_passed")]);
    let before = passed()?;
    let connection = Dial::new()
        .source(source)
        .connect(&bed.pod("client").netns, to)?;
    exchange_bytes(connection, Leave::First, 10)?;
    ensure!(passed()? == before + 1, "the tunnel has taken it in");
    Ok(())
}

#[test]
fn connections_whose_slots_are_taken_are_counted_and_guarded() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let start = |pod: &str| Server::start(&bed.pod(pod).netns, pod, PORT, Service::Echo);
    let _servers = [start("far-plain")?, start("far")?];
    take_all(&bed)?;
    let metric = |name: &str| bed.metric(name, &[]);
    let closed = metric("waysteer_connections_closed")?;
    let guarded = || bed.metric("waysteer_packet_actions", &[("action", "guard_returned")]);
    for (number, pod) in (1..).zip(["far-plain", "far"]) {
        let to = SocketAddr::new(bed.address(pod, false), PORT);
        let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
        // Not even the mark says whose it is.
        SockRef::from(&connection.stream).set_mark(0)?;
        exchange_bytes(connection, Leave::First, 10)?;
        wait_until(PATIENCE, "the connection is counted", || {
            metric("waysteer_connections_closed").is_ok_and(|now| now == closed + number)
        })?;
        ensure!(metric("waysteer_sent_bytes")? == 10 * number, "{pod}");
        ensure!((guarded()? > 0) == (pod == "far"), "{pod}");
    }
    Ok(())
}
