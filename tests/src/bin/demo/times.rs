//! How long connections take.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::interrupt;
use waysteer_tests::netns::NetNs;

use crate::flow::{End, Flow};

/// So many connections are made; the first ones find cold caches and closed tunnels, which the
/// median does not see.
const CONNECTIONS: usize = 101;

/// Medians over new connections, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Times {
    /// Until `connect()` returns.
    pub(crate) connect: u64,
    /// From `connect()` until the answer to one request is there.
    pub(crate) request: u64,
}

/// The connection that is compared with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Without {
    pub(crate) destination: SocketAddr,
    /// Not the flow's own destination, which is a service, but its endpoint.
    pub(crate) is_endpoint: bool,
    pub(crate) microseconds: Times,
}

impl Without {
    /// Nothing where nobody is to answer.
    pub(crate) fn measure(netns: &NetNs, flow: &Flow) -> Result<Option<Self>> {
        let End::Server { instead, .. } = flow.end else {
            return Ok(None);
        };
        let destination = instead.unwrap_or(flow.to);
        Ok(Some(Self {
            destination,
            is_endpoint: instead.is_some(),
            microseconds: Times::measure(netns, destination)?,
        }))
    }
}

impl Times {
    pub(crate) fn measure(netns: &NetNs, to: SocketAddr) -> Result<Self> {
        let (mut connect, mut request) = (Vec::new(), Vec::new());
        netns
            .run(|| -> Result<()> {
                // Back to back: with an answer to wait for in between, what is measured is how fast
                // an idle processor wakes up.
                for _ in 0..CONNECTIONS {
                    interrupt::check()?;
                    connect.push(Dial::new().connect_here(to)?.took);
                }
                for _ in 0..CONNECTIONS {
                    interrupt::check()?;
                    let start = Instant::now();
                    let connection = Dial::new().connect_here(to)?;
                    http::get(&connection.stream, "demo", "/measured")?;
                    request.push(start.elapsed());
                }
                Ok(())
            })
            .with_context(|| format!("measuring connections to {to}"))?;
        Ok(Self {
            connect: median(connect),
            request: median(request),
        })
    }
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    u64::try_from(middle.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_do_not_move_the_median() {
        let times = [9_000, 5, 7].map(Duration::from_micros);
        assert_eq!(median(times.to_vec()), 7);
        assert_eq!(median(Vec::new()), 0);
    }
}
