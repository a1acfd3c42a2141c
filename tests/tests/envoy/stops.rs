//! A waypoint that is gone is not gone around.

use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;

use super::Behind;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn killed_it_is_not_gone_around() -> Result<()> {
    let Some(mut behind) = Behind::new()? else {
        return Ok(());
    };
    let mut kept = Vec::new();
    for v6 in [false, true] {
        for way in behind.ways(v6) {
            let connection = Dial::new().connect(behind.client(), way.to)?;
            http::get(&connection.stream, "service", "/before")?;
            kept.push(connection);
        }
    }
    let accepted = behind.accepted();
    for waypoint in &mut behind.bed.peers {
        waypoint.kill()?;
    }
    for connection in &kept {
        let to = connection.peer;
        let answer = http::get(&connection.stream, "service", "/secret-kept");
        ensure!(answer.is_err(), "kept, to {to}: {answer:?}");
    }
    for v6 in [false, true] {
        for way in behind.ways(v6) {
            // The tunnel may have taken the connection before it found that nobody is there.
            let answer = Dial::new()
                .timeout(SOON)
                .connect(behind.client(), way.to)
                .and_then(|new| http::get(&new.stream, "service", "/secret-new"));
            ensure!(answer.is_err(), "new, to {}: {answer:?}", way.to);
        }
    }
    ensure!(behind.accepted() == accepted, "a server was reached");
    behind.ensure_hidden(b"/secret")
}
