//! Metrics of what was found not to be as it should be.

use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::DescriptorEncoder;

use super::tunnel::counters;
use super::{Labels, encode_gauges, encode_seconds};
use crate::kernel::link::Hook;
use crate::state::{DriftCounts, NodeVerification, PodState, State, Verifications};
use crate::verify::DriftKind;

#[derive(Debug)]
pub(super) struct Collected {
    counts: DriftCounts,
    /// Number of drifts of each kind that stand.
    standing: Vec<(Labels, u64)>,
    /// Cgroups in which others come first, by hook.
    shadowed: Vec<(Labels, u64)>,
    /// The oldest last look, in seconds.
    age: u64,
    verifications: Verifications,
}

impl Collected {
    pub(super) fn of(state: &State) -> Self {
        let (pods, node) = (state.pods(), state.node());
        let of_pods = pods.iter().flat_map(|pod| &pod.verification.drift);
        let standing: Vec<_> = of_pods.chain(&node.verification.drift).collect();
        let by_kind = DriftKind::ALL.map(|kind| {
            let standing = standing.iter().filter(|drift| drift.kind == kind.label());
            (label("kind", kind.label()), standing.count() as u64)
        });
        // A pod that is not captured has nothing to be looked at.
        let captured = pods
            .iter()
            .filter(|pod| !matches!(pod.state, PodState::Failed(_) | PodState::Leaving));
        let looks = captured.filter_map(|pod| pod.verification.verified);
        let looks = looks.chain(node.verification.verified).chain(node.maps);
        Self {
            counts: state.drift(),
            standing: by_kind.into(),
            shadowed: shadowed(&node),
            age: looks.min().map_or(0, seconds_since),
            verifications: state.verifications(),
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by_kind = |value: fn((u64, u64)) -> u64| {
            self.counts.each().map(move |(kind, found, repaired)| {
                (label("kind", kind.label()), value((found, repaired)))
            })
        };
        counters(
            encoder,
            "waysteer_drift",
            "Things found not to be as they should be",
            by_kind(|(found, _)| found),
        )?;
        counters(
            encoder,
            "waysteer_drift_repaired",
            "Of these, found to be right again",
            by_kind(|(_, repaired)| repaired),
        )?;
        encode_gauges(
            encoder,
            "waysteer_drift_standing",
            "Things that are not as they should be at present",
            &self.standing,
        )?;
        encode_gauges(
            encoder,
            "waysteer_hooks_shadowed",
            "Cgroups in which programs of others run before ours, or ours do not run",
            &self.shadowed,
        )?;
        encode_gauges(
            encoder,
            "waysteer_verification_age_seconds",
            "Time since the oldest of the last looks at each pod, the hooks and the maps",
            &[(Labels::new(), self.age)],
        )?;
        counters(
            encoder,
            "waysteer_verifications",
            "Looks at pods",
            [(Labels::new(), self.verifications.count)],
        )?;
        encode_seconds(
            encoder,
            "waysteer_verification_duration",
            "Time that looks at pods took, in sum",
            [(Labels::new(), self.verifications.nanoseconds)],
        )
    }
}

fn shadowed(node: &NodeVerification) -> Vec<(Labels, u64)> {
    let hooks = [Hook::Connect4, Hook::Connect6, Hook::SockOps];
    let count = |hook: Hook| {
        let shadows = node.shadows.iter();
        shadows.filter(|shadow| shadow.hook == hook.label()).count() as u64
    };
    hooks
        .map(|hook| (label("hook", hook.label()), count(hook)))
        .into()
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn seconds_since(at: Instant) -> u64 {
    at.elapsed().as_secs()
}
