//! What the kernel has counted is what the clients have done.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer_tests::bed::Bed;
use waysteer_tests::load::{Kind, Report};
use waysteer_tests::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(10);

/// Class and path.
type Counter = (&'static str, &'static str);

const COUNTERS: [Counter; 6] = [
    ("ToServerWaypoint", "tunnel"),
    ("Direct", "tunnel"),
    ("Direct", "bypass"),
    ("DirectLocal", "tunnel"),
    ("DirectLocal", "bypass"),
    ("Passthrough", "bypass"),
];

/// Connections of the node's pods that were opened, and that were closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted(BTreeMap<Counter, [u64; 2]>);

impl Counted {
    pub(super) fn by(bed: &Bed) -> Result<Self> {
        let each = COUNTERS.map(|(class, path)| {
            let labels = [("class", class), ("path", path)];
            let opened = bed.metric("waysteer_connections_opened", &labels)?;
            let closed = bed.metric("waysteer_connections_closed", &labels)?;
            Ok(((class, path), [opened, closed]))
        });
        each.into_iter().collect::<Result<_>>().map(Self)
    }

    /// Since this was looked at, the load has done all that its report says, and each new pod has
    /// dialled one of the other node.
    pub(super) fn ensure_as(&self, report: &Report, new_pods: u64, bed: &Bed) -> Result<()> {
        let mut expected = self.clone();
        let mut add = |counter: Option<Counter>, count: u64| {
            if let Some(both) = counter.and_then(|counter| expected.0.get_mut(&counter)) {
                both.iter_mut().for_each(|number| *number += count);
            }
        };
        for way in &report.ways {
            // And the stream.
            add(counter(way.kind), way.begun + 1);
        }
        add(counter(Kind::DirectHbone), new_pods);
        let mut found = None;
        let waited = wait_until(PATIENCE, "what was counted is what was done", || {
            found = Self::by(bed).ok();
            found.as_ref() == Some(&expected)
        });
        waited.with_context(|| format!("{expected:?}, not {found:?}"))
    }
}

/// Where connections that begin in the node's pods are counted.
fn counter(kind: Kind) -> Option<Counter> {
    match kind {
        Kind::ToServerWaypoint => Some(("ToServerWaypoint", "tunnel")),
        Kind::DirectHbone => Some(("Direct", "tunnel")),
        Kind::LocalHbone => Some(("DirectLocal", "tunnel")),
        Kind::LocalBypass => Some(("DirectLocal", "bypass")),
        Kind::Plain => Some(("Direct", "bypass")),
        Kind::Passthrough => Some(("Passthrough", "bypass")),
        Kind::InboundHbone | Kind::InboundPlain | Kind::Probe => None,
    }
}
