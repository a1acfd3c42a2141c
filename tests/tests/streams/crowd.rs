//! Many connections at once.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::process::raise_file_limit;
use waysteer_tests::wait::wait_until;

use super::{PORT, echo};

const MANY: usize = 2_000;
const THREADS: usize = 8;

#[test]
fn two_thousand_steered_connections_at_once() -> Result<()> {
    ensure!(raise_file_limit()? > 4 * MANY as u64);
    let bed = Bed::new(&Options::default())?;
    let server = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    let steered = || bed.metric("waysteer_verdicts", &[("reason", "ServiceHbone")]);
    let before = steered()?;
    let connect = |thread: usize| -> Result<Vec<Connection>> {
        let to = Bed::service(bed::WEB, thread % 2 == 1);
        let dial = Dial::new().timeout(Duration::from_secs(30));
        let all = (0..MANY / THREADS).map(|_| {
            let connection = dial.connect_here(to).context("connecting")?;
            echo(&connection)?;
            Ok(connection)
        });
        all.collect()
    };
    let connections: Vec<Connection> = bed.pod("client").netns.run(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || connect(thread)))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().expect("no thread panics")?);
            }
            Ok::<_, anyhow::Error>(all)
        })
    })?;
    ensure!(server.open() == MANY, "{} are open", server.open());
    // All are still good for more.
    for connection in &connections {
        echo(connection)?;
    }
    ensure!(steered()? - before == MANY as u64);
    drop(connections);
    wait_until(
        Duration::from_secs(10),
        "the server's ends close too",
        || server.open() == 0,
    )
}
