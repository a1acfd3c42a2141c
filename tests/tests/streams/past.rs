//! What is kept of connections between `connect()` and their end.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use waysteer_common::abi::value::HandedOverValue;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::{Dial, disconnect};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use super::PORT;
use super::counted::{Leave, exchange_bytes};
use crate::adoption::look;
use crate::redirect::classes::check_every_class;

const PATIENCE: Duration = Duration::from_secs(20);
/// As many as `CONNECTIONS` has room for.
const FULL: u64 = 65_536;

fn map(bed: &Bed, name: &str) -> Result<PathBuf> {
    Ok(look::generation(bed)?.join("maps").join(name))
}

fn entries(map: &Path) -> Result<usize> {
    let mut command = Command::new("bpftool");
    command.args(["--json", "map", "dump", "pinned"]).arg(map);
    let entries: Vec<serde_json::Value> = serde_json::from_str(&look::output(command)?)?;
    Ok(entries.len())
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

#[test]
fn a_verdict_that_is_lost_on_the_way_is_made_again() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    lose_all(&bed)?;
    check_every_class(&bed)?;
    ensure!(
        entries(&map(&bed, "CONNECTIONS")?)? == 0,
        "something was handed over"
    );
    Ok(())
}

/// What `connect()` hands over from now on is lost.
fn lose_all(bed: &Bed) -> Result<()> {
    // Somebody is writing, everywhere and for good.
    let mut value = vec![0; size_of::<HandedOverValue>()];
    value[..8].copy_from_slice(&HandedOverValue::BUSY.to_ne_bytes());
    let slot = |slot: u32| (slot.to_ne_bytes().to_vec(), value.clone());
    fill(
        bed,
        &map(bed, "HANDED_OVER")?,
        (0..HandedOverValue::SLOTS).map(slot),
    )
}

/// One socket, three times: steered; to loopback; and steered when the verdict is lost.
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
    lose_all(&bed)?;
    SockRef::from(&stream).connect(&far.into())?;
    // Ends it at once, as before.
    disconnect(&stream)?;
    let (expected, found) = (before.map(|count| count + 1), counted()?);
    ensure!(found == expected, "{before:?}, then {found:?}");
    Ok(())
}

#[test]
fn an_entry_a_connection_and_none_when_it_ends() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let maps = [map(&bed, "CONNECTIONS")?, map(&bed, "FLOWS")?];
    let [connections, flows] = &maps;
    let client = &bed.pod("client").netns;
    let start = |pod: &str| Server::start(&bed.pod(pod).netns, pod, PORT, Service::Echo);
    let _servers = [start("far-plain")?, start("far")?];
    let none_is_left = || {
        wait_until(PATIENCE, "no entry is left", || {
            maps.iter()
                .all(|map| entries(map).is_ok_and(|left| left == 0))
        })
    };
    for v6 in [false, true] {
        for (pod, in_flows) in [("far-plain", 0), ("far", 1)] {
            let to = SocketAddr::new(bed.address(pod, v6), PORT);
            for leave in [Leave::First, Leave::AtOnce, Leave::Reset] {
                let connection = Dial::new().connect(client, to)?;
                ensure!(entries(connections)? == 1, "{to}: none while it is open");
                ensure!(entries(flows)? == in_flows, "{to}: for the tunnel");
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

#[test]
fn without_room_connections_are_counted_and_guarded_all_the_same() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let connections = map(&bed, "CONNECTIONS")?;
    let start = |pod: &str| Server::start(&bed.pod(pod).netns, pod, PORT, Service::Echo);
    let _servers = [start("far-plain")?, start("far")?];
    // Cookies that no socket has yet.
    let keys = (0..FULL).map(|number| ((u64::MAX - number).to_be_bytes().to_vec(), vec![0; 32]));
    fill(&bed, &connections, keys)?;
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
    ensure!(entries(&connections)? == usize::try_from(FULL)?);
    Ok(())
}
