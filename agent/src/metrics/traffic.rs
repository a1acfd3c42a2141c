//! Metrics of what connections did: of the node by class, and past the tunnel by workload, as
//! ztunnel tells of its own.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

use super::tunnel::counters;
use super::{Field, Labels, MetricsError, encode_seconds};
use crate::admin::Sources;
use crate::kernel::observe::{ClassTraffic, Traffic};
use crate::traffic::Series;

const OF_CLASSES: [Field<Traffic>; 4] = [
    (
        "waysteer_connections_opened",
        "Connections of enrolled pods that were opened",
        |t| t.opened,
    ),
    (
        "waysteer_connections_closed",
        "Connections of enrolled pods that were closed",
        |t| t.closed,
    ),
    (
        "waysteer_sent_bytes",
        "Bytes that closed connections had sent",
        |t| t.bytes_sent,
    ),
    (
        "waysteer_received_bytes",
        "Bytes that closed connections had received",
        |t| t.bytes_received,
    ),
];

const OF_OTHERS: [Field<Traffic>; 2] = [
    (
        "waysteer_traffic_other_connections",
        "Connections opened that the kernel had no room to count by pod and destination",
        |t| t.opened,
    ),
    (
        "waysteer_traffic_other_bytes",
        "Bytes of closed connections that the kernel had no room to count by pod and destination",
        Traffic::bytes,
    ),
];

const OF_SERIES: [Field<Traffic>; 4] = [
    (
        "istio_tcp_connections_opened",
        "Connections opened past the tunnel",
        |t| t.opened,
    ),
    (
        "istio_tcp_connections_closed",
        "Connections closed past the tunnel",
        |t| t.closed,
    ),
    (
        "istio_tcp_sent_bytes",
        "Bytes that connections past the tunnel had sent when they closed",
        |t| t.bytes_sent,
    ),
    (
        "istio_tcp_received_bytes",
        "Bytes that connections past the tunnel had received when they closed",
        |t| t.bytes_received,
    ),
];

#[derive(Debug)]
pub(super) struct Collected {
    classes: ClassTraffic,
    others: ClassTraffic,
    series: BTreeMap<Series, Traffic>,
    entries: usize,
    capacity: u32,
}

impl Collected {
    pub(super) fn of(sources: &Sources) -> Result<Self, MetricsError> {
        let reading = sources.traffic.read()?;
        Ok(Self {
            classes: sources.counters.traffic()?,
            others: sources.counters.other_traffic()?,
            series: reading.series,
            entries: reading.entries,
            capacity: sources.traffic.capacity(),
        })
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in OF_CLASSES {
            counters(encoder, name, help, by_class(&self.classes, value))?;
        }
        encode_seconds(
            encoder,
            "waysteer_connection_duration",
            "Time that closed connections had been open, in sum",
            by_class(&self.classes, |traffic| traffic.duration_ns),
        )?;
        for (name, help, value) in OF_OTHERS {
            counters(encoder, name, help, by_class(&self.others, value))?;
        }
        for (name, help, value) in OF_SERIES {
            let lines = self.series.iter().map(|(series, traffic)| {
                let labels = series.labels().into_iter().collect();
                (labels, value(traffic))
            });
            counters(encoder, name, help, lines)?;
        }
        let gauges = [
            (
                "waysteer_traffic_entries",
                "Pairs of pod and destination that are counted apart",
                self.entries as u64,
            ),
            (
                "waysteer_traffic_capacity",
                "Pairs of pod and destination that there is room for",
                self.capacity.into(),
            ),
            (
                "waysteer_traffic_series",
                "Lines of each istio_tcp metric",
                self.series.len() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        Ok(())
    }
}

fn by_class(
    traffic: &ClassTraffic,
    value: fn(&Traffic) -> u64,
) -> impl Iterator<Item = (Labels, u64)> {
    traffic.iter().map(move |((class, is_steered), traffic)| {
        let path = if *is_steered { "tunnel" } else { "bypass" };
        let labels = vec![("class", class.label().into()), ("path", path.into())];
        (labels, value(traffic))
    })
}
