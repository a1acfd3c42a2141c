//! Metrics of the tunnel: of the embedded one what it carried, of ztunnel what it was told.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Field, Labels, encode_gauges, encode_one};
use crate::state::Times;
use crate::tunnel::{StatsSnapshot, TunnelStatus, ZtunnelStatus};

pub(super) fn encode(tunnel: &TunnelStatus, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    match tunnel {
        TunnelStatus::Embedded(stats) => embedded(stats, encoder),
        TunnelStatus::Ztunnel(status) => ztunnel(status, encoder),
    }
}

fn embedded(stats: &StatsSnapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, value) in EMBEDDED {
        counters(encoder, name, help, [(Labels::new(), value(stats))])?;
    }
    Ok(())
}

fn ztunnel(status: &ZtunnelStatus, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let count = |number: usize| number as u64;
    encode_gauges(
        encoder,
        "waysteer_ztunnel_connections",
        "ztunnels that are connected",
        &[(Labels::new(), count(status.connected.len()))],
    )?;
    let pods = [
        ("ready", status.ready),
        ("waiting", status.waiting),
        ("refused", status.refused),
    ];
    let label = |readiness: &str| vec![("readiness", readiness.to_owned())];
    encode_gauges(
        encoder,
        "waysteer_ztunnel_pods",
        "Pods that ztunnel is to serve, by whether it does",
        &pods.map(|(readiness, number)| (label(readiness), count(number))),
    )?;
    counters(
        encoder,
        "waysteer_ztunnel_messages",
        "Messages to ztunnels, by kind and what was answered",
        status.messages.iter().map(|(kind, answer, number)| {
            let labels = [("kind", kind.label()), ("result", answer.label())];
            (labels.map(|(k, v)| (k, v.to_owned())).to_vec(), *number)
        }),
    )?;
    counters(
        encoder,
        "waysteer_ztunnel_connections_closed",
        "Connections of ztunnels that ended, by reason",
        status.closed.iter().map(|(reason, number)| {
            let labels = vec![("reason", (*reason).to_owned())];
            (labels, *number)
        }),
    )?;
    let latency = &status.latency;
    let mut histogram = encoder.encode_descriptor(
        "waysteer_ztunnel_ack_seconds",
        "Time until ztunnel answered",
        None,
        MetricType::Histogram,
    )?;
    histogram.encode_histogram::<NoLabelSet>(latency.sum, latency.count, &latency.buckets, None)
}

pub(super) fn times(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    times: &Times,
) -> fmt::Result {
    let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    histogram.encode_histogram::<NoLabelSet>(times.sum, times.count, &times.buckets, None)
}

pub(super) fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        encode_one(&mut family, &labels, value)?;
    }
    Ok(())
}

const EMBEDDED: &[Field<StatsSnapshot>] = &[
    (
        "waysteer_tunnel_outbound_hbone",
        "Connections taken over HBONE",
        |t| t.outbound_hbone,
    ),
    (
        "waysteer_tunnel_outbound_plain",
        "Connections dialled in plain TCP",
        |t| t.outbound_plain,
    ),
    (
        "waysteer_tunnel_outbound_refused",
        "Connections without a next hop",
        |t| t.outbound_refused,
    ),
    (
        "waysteer_tunnel_outbound_failed",
        "Connections whose next hop failed",
        |t| t.outbound_failed,
    ),
    (
        "waysteer_tunnel_outbound_reclassified",
        "Connections judged again",
        |t| t.outbound_reclassified,
    ),
    (
        "waysteer_tunnel_inbound_hbone",
        "HBONE streams to applications",
        |t| t.inbound_hbone,
    ),
    (
        "waysteer_tunnel_inbound_plain",
        "Plaintext connections let in",
        |t| t.inbound_plain,
    ),
    (
        "waysteer_tunnel_inbound_refused",
        "Inbound connections refused",
        |t| t.inbound_refused,
    ),
    (
        "waysteer_tunnel_inbound_failed",
        "HBONE connections that failed",
        |t| t.inbound_failed,
    ),
];
