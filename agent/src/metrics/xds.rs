//! Metrics of the connection to istiod.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::tunnel::counters;
use super::{Labels, encode_gauges};
use crate::source::xds::{XdsKind, XdsSnapshot};

pub(super) fn encode(xds: &XdsSnapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let one = |value: u64| [(Labels::new(), value)];
    encode_gauges(
        encoder,
        "waysteer_xds_connected",
        "There is a connection to istiod",
        &one(xds.connected.into()),
    )?;
    encode_gauges(
        encoder,
        "waysteer_xds_state_age_seconds",
        "For how long what is known of the mesh may be out of date; 0 while connected",
        &one(xds.age().as_secs()),
    )?;
    // Without a value until it has.
    let last = xds.last_response.map(|last| one(last.elapsed().as_secs()));
    encode_gauges(
        encoder,
        "waysteer_xds_last_message_seconds",
        "Time since istiod has said anything",
        last.as_ref().map_or(&[], |last| last.as_slice()),
    )?;
    counters(
        encoder,
        "waysteer_xds_connections",
        "Connections to istiod that were made",
        one(xds.connections),
    )?;
    counters(
        encoder,
        "waysteer_xds_disconnections",
        "Connections to istiod that ended or could not be made, by reason",
        xds.disconnections.iter().map(|(reason, count)| {
            let labels = vec![("reason", (*reason).to_owned())];
            (labels, *count)
        }),
    )?;
    kinds(xds, encoder)
}

/// Name, help, and the value of a type of resources.
type Gauge = (&'static str, &'static str, fn(&XdsKind) -> u64);

fn kinds(xds: &XdsSnapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let label = |kind: &XdsKind| vec![("type", kind.label.to_owned())];
    let gauges: [Gauge; 3] = [
        (
            "waysteer_xds_complete",
            "Everything of a type was told at least once",
            |kind| kind.complete.into(),
        ),
        (
            "waysteer_xds_resources",
            "Resources with a good version",
            |kind| kind.resources as u64,
        ),
        (
            "waysteer_xds_rejected",
            "Resources whose last version was refused",
            |kind| kind.rejected as u64,
        ),
    ];
    for (name, help, value) in gauges {
        let values: Vec<_> = xds.kinds.iter().map(|k| (label(k), value(k))).collect();
        encode_gauges(encoder, name, help, &values)?;
    }
    let responses = xds.kinds.iter().flat_map(|kind| {
        [("ack", kind.acknowledged), ("nack", kind.refused)].map(|(result, count)| {
            let mut labels = label(kind);
            labels.push(("result", result.to_owned()));
            (labels, count)
        })
    });
    let unasked = [("type", "unasked"), ("result", "nack")];
    let unasked = unasked.map(|(key, value)| (key, value.to_owned())).to_vec();
    counters(
        encoder,
        "waysteer_xds_responses",
        "Responses of istiod, and what was answered",
        responses.chain([(unasked, xds.unasked)]),
    )?;
    counters(
        encoder,
        "waysteer_xds_refused_resources",
        "Versions of resources that were refused",
        xds.kinds.iter().map(|k| (label(k), k.refused_resources)),
    )?;
    counters(
        encoder,
        "waysteer_xds_received_bytes",
        "Bytes of istiod's responses",
        xds.kinds.iter().map(|k| (label(k), k.bytes)),
    )
}
