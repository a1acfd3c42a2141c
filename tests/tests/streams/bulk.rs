//! A gigabyte each way over HBONE, whole, and a stream that says nothing all the while.

use std::io::Read as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::bulk::{self, Checksum};
use waysteer_tests::dial::Dial;
use waysteer_tests::peers::{Server, Service};

use super::{PORT, echo};

const BYTES: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_gigabyte_each_way_and_an_idle_stream() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let (client, far) = (bed.pod("client"), bed.pod("far"));
    let _sink = Server::start(&far.netns, "sink", PORT, Service::Sink)?;
    let _source = Server::start(&far.netns, "source", 19, Service::Source(BYTES))?;
    let _echo = Server::start(&far.netns, "echo", 7, Service::Echo)?;
    let dial = Dial::new().timeout(PATIENCE);
    let at = |port| (bed.address("far", false), port).into();
    let idle = dial.connect(&client.netns, at(7))?;
    echo(&idle)?;

    let start = Instant::now();
    let mut up = dial.connect(&client.netns, Bed::service(bed::WEB, false))?;
    let sent = bulk::send(&up.stream, BYTES).context("sending")?;
    up.stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; Checksum::SIZE];
    up.stream.read_exact(&mut answer).context("the checksum")?;
    ensure!(Checksum::from_bytes(answer) == sent);
    let up_took = start.elapsed();

    let start = Instant::now();
    let down = dial.connect(&client.netns, at(19))?;
    let received = bulk::receive(&down.stream).context("receiving")?;
    ensure!(received == sent, "{received:?}");
    let down_took = start.elapsed();

    echo(&idle).context("the idle stream")?;
    println!("{BYTES} bytes: up in {up_took:?}, down in {down_took:?}");
    ensure!(up_took < PATIENCE && down_took < PATIENCE);
    Ok(())
}
