//! What was seen, as it is printed and as `--json` gives it.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::times::{Times, Without};
use crate::wire::Crossing;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) waypoint: String,
    pub(crate) flows: Vec<Row>,
    /// Of the whole run.
    pub(crate) checks: Vec<Check>,
    pub(crate) ok: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) flow: &'static str,
    pub(crate) destination: SocketAddr,
    pub(crate) class: String,
    pub(crate) reason: String,
    pub(crate) steered: bool,
    pub(crate) next_hop: Option<String>,
    pub(crate) next_hop_workload: Option<String>,
    /// `HBONE`, `plaintext`, `nothing`; with a waypoint both legs: `HBONE, HBONE`.
    pub(crate) wire: String,
    pub(crate) crossing: Crossing,
    /// Who answered, if someone did.
    pub(crate) server: Option<String>,
    /// How it ended for the client where nobody answered.
    pub(crate) refused: Option<String>,
    /// The other end of the server's socket.
    pub(crate) peer_seen: Option<IpAddr>,
    /// What the waypoint told the server of the client.
    pub(crate) forwarded_for: Option<String>,
    pub(crate) microseconds: Option<Times>,
    pub(crate) without_waysteer: Option<Without>,
    pub(crate) checks: Vec<Check>,
    pub(crate) ok: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    pub(crate) expected: String,
    pub(crate) saw: String,
}

impl Report {
    pub(crate) fn new(waypoint: String, flows: Vec<Row>, checks: Vec<Check>) -> Self {
        let ok = all_ok(&checks) && flows.iter().all(|row| row.ok);
        Self {
            waypoint,
            flows,
            checks,
            ok,
        }
    }
}

impl Row {
    /// Adds what was measured; that it could not be is a check that failed.
    pub(crate) fn add_times(&mut self, with: anyhow::Result<Times>, without: Option<Without>) {
        self.without_waysteer = without;
        match with {
            Ok(times) => self.microseconds = Some(times),
            Err(error) => {
                let check = Check::new("more connections", false, "answers", format!("{error:#}"));
                self.checks.push(check);
                self.ok = false;
            }
        }
    }
}

impl Check {
    pub(crate) fn new(
        name: &'static str,
        ok: bool,
        expected: impl ToString,
        saw: impl ToString,
    ) -> Self {
        Self {
            name,
            ok,
            expected: expected.to_string(),
            saw: saw.to_string(),
        }
    }

    /// Two things that print differently are different.
    pub(crate) fn same(name: &'static str, expected: impl ToString, saw: impl ToString) -> Self {
        let (expected, saw) = (expected.to_string(), saw.to_string());
        Self::new(name, expected == saw, expected, saw)
    }
}

pub(crate) fn all_ok(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok)
}
