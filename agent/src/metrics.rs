//! Prometheus metrics: read from the kernel and the state at each scrape, stored nowhere.

mod drift;
mod maps;
mod programs;
mod traffic;
mod tunnel;
mod xds;

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use waysteer_common::abi::names::ABI_VERSION;

use crate::admin::Sources;
use crate::kernel::maps::Tally;
use crate::kernel::observe::{ObserveError, PodTrafficError};
use crate::kernel::programs::ProgramReport;
use crate::source::Severity;
use crate::state::{PodState, PodStatus};

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("cannot read the kernel's counters")]
    Observe(#[from] ObserveError),
    #[error("cannot read what pods' connections did")]
    Traffic(#[from] PodTrafficError),
    #[error("cannot encode the metrics")]
    Encode(#[from] fmt::Error),
}

/// All metrics, in the OpenMetrics text format.
///
/// # Errors
/// When the kernel's counters cannot be read.
pub fn encode(sources: &Sources) -> Result<String, MetricsError> {
    let verdicts = sources.counters.verdicts()?;
    let packets = sources.counters.packets()?;
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    let collector = Collected {
        verdicts: verdicts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|((class, reason), count)| {
                (
                    vec![
                        ("class", class.label().into()),
                        ("reason", reason.label().into()),
                    ],
                    count,
                )
            })
            .collect(),
        packets: packets
            .into_iter()
            .map(|(action, count)| (vec![("action", action.label().into())], count))
            .collect(),
        traffic: traffic::Collected::of(sources)?,
        gauges: gauges(sources)?,
        pods: pods(&sources.state.pods()),
        enrol_times: sources.state.enrol_times(),
        enrol_work: sources.state.enrol_work(),
        maps: sources.state.map_tallies(),
        drift: drift::Collected::of(&sources.state),
        tunnel: sources.tunnel.status(),
        programs: sources.programs(),
        xds: sources.xds.as_ref().map(|stats| stats.snapshot()),
    };
    registry.register_collector(Box::new(collector));
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Collected {
    verdicts: Vec<(Labels, u64)>,
    packets: Vec<(Labels, u64)>,
    traffic: traffic::Collected,
    gauges: Vec<(&'static str, &'static str, u64)>,
    pods: Vec<(Labels, u64)>,
    enrol_times: crate::state::Times,
    enrol_work: crate::state::Times,
    maps: Vec<Tally>,
    drift: drift::Collected,
    tunnel: crate::tunnel::TunnelStatus,
    programs: Vec<ProgramReport>,
    xds: Option<crate::source::xds::XdsSnapshot>,
}

fn gauges(sources: &Sources) -> Result<Vec<(&'static str, &'static str, u64)>, ObserveError> {
    let state = &sources.state;
    let source = state.source();
    let pods = state.pods();
    let in_state = |wanted: fn(&PodState) -> bool| {
        let pods = pods.iter();
        pods.filter(|pod| wanted(&pod.state)).count()
    };
    let enrolled = in_state(|state| matches!(state, PodState::Enrolled));
    let failed = in_state(|state| matches!(state, PodState::Failed(_)));
    let count = |number: usize| number as u64;
    Ok(vec![
        (
            "waysteer_pods_enrolled",
            "Pods whose traffic is captured and that the tunnel serves",
            count(enrolled),
        ),
        (
            "waysteer_pods_failed",
            "Pods that could not be enrolled",
            count(failed),
        ),
        (
            "waysteer_source_synced",
            "A complete snapshot is in the maps",
            source.synced.into(),
        ),
        (
            "waysteer_source_workloads",
            "Workloads known",
            count(source.workloads),
        ),
        (
            "waysteer_source_services",
            "Services known",
            count(source.services),
        ),
        (
            "waysteer_source_policies",
            "Policies known",
            count(source.policies),
        ),
        (
            "waysteer_source_rejected",
            "Entries without a good version",
            count(source.rejected),
        ),
        (
            "waysteer_source_errors",
            "Errors in the source's input at present",
            count(state.count_diagnostics(Severity::Error)),
        ),
        (
            "waysteer_map_entries",
            "Entries of all configuration maps",
            count(source.map_entries),
        ),
        (
            "waysteer_maps_incomplete",
            "The maps do not hold all they should",
            state.map_error().is_some().into(),
        ),
        (
            "waysteer_syn_cookies_possible",
            "A listener of the tunnel may have given SYN cookies that are still good",
            sources.counters.may_have_given_cookies()?.into(),
        ),
    ])
}

impl prometheus_client::collector::Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter =
            |name: &str, help: &str, values: &mut dyn Iterator<Item = (&Labels, u64)>| {
                let mut family =
                    encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                for (labels, value) in values {
                    encode_one(&mut family, labels, value)?;
                }
                Ok::<_, fmt::Error>(())
            };
        counter(
            "waysteer_verdicts",
            "Verdicts on new connections of enrolled pods",
            &mut self.verdicts.iter().map(|(labels, value)| (labels, *value)),
        )?;
        counter(
            "waysteer_packet_actions",
            "What the packet programs did to packets that were not simply passed",
            &mut self.packets.iter().map(|(labels, value)| (labels, *value)),
        )?;
        counter(
            "waysteer_log_lines_suppressed",
            "Lines about single connections that were not logged, being too many",
            &mut std::iter::once((&Vec::new(), crate::telemetry::suppressed())),
        )?;
        self.traffic.encode(&mut encoder)?;
        programs::encode(&self.programs, &mut encoder)?;
        encode_gauges(
            &mut encoder,
            "waysteer_build_info",
            "Always 1; what runs here",
            &[(build(), 1)],
        )?;
        for (name, help, value) in &self.gauges {
            let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
            let family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        encode_gauges(
            &mut encoder,
            "waysteer_pods",
            "Local pods, by state",
            &self.pods,
        )?;
        tunnel::times(
            &mut encoder,
            "waysteer_enrol_seconds",
            "From a pod's first mention to its enrolment",
            &self.enrol_times,
        )?;
        tunnel::times(
            &mut encoder,
            "waysteer_enrol_work_seconds",
            "The same without the time that a pod waits for others before it",
            &self.enrol_work,
        )?;
        maps::encode(&self.maps, &mut encoder)?;
        self.drift.encode(&mut encoder)?;
        if let Some(xds) = &self.xds {
            xds::encode(xds, &mut encoder)?;
        }
        tunnel::encode(&self.tunnel, &mut encoder)
    }
}

fn build() -> Labels {
    vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("abi", ABI_VERSION.to_string()),
    ]
}

/// A counter of `name_seconds`, of what was counted in nanoseconds.
fn encode_seconds(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    nanoseconds: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, nanoseconds) in nanoseconds {
        let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
        ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// One number for each state, also where it is 0.
fn pods(pods: &[PodStatus]) -> Vec<(Labels, u64)> {
    let mut counts = [
        ("enrolled", 0),
        ("pending", 0),
        ("drifted", 0),
        ("failed", 0),
        ("leaving", 0),
    ];
    for pod in pods {
        let label = pod.state.label();
        for (state, count) in &mut counts {
            *count += u64::from(*state == label);
        }
    }
    counts
        .into_iter()
        .map(|(state, count)| (vec![("state", state.into())], count))
        .collect()
}

fn encode_gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(Labels, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
        gauge.encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

fn encode_one(family: &mut MetricEncoder<'_>, labels: &Labels, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(labels)?)
}

/// Name, help, and the number.
type Field<T> = (&'static str, &'static str, fn(&T) -> u64);
