//! What connections did, as pages tell it.

use serde::Serialize;

use crate::kernel::observe::{ClassTraffic, Traffic};

/// Of one class, through the tunnel or past it. Bytes and time are those of closed connections.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    class: &'static str,
    steered: bool,
    opened: u64,
    closed: u64,
    sent_bytes: u64,
    received_bytes: u64,
    duration_seconds: f64,
}

impl Counted {
    pub(super) fn of(traffic: &ClassTraffic) -> Vec<Self> {
        let counted = traffic.iter().map(|((class, steered), traffic)| {
            let Traffic {
                opened,
                closed,
                bytes_sent,
                bytes_received,
                duration_ns,
            } = *traffic;
            Self {
                class: class.label(),
                steered: *steered,
                opened,
                closed,
                sent_bytes: bytes_sent,
                received_bytes: bytes_received,
                duration_seconds: std::time::Duration::from_nanos(duration_ns).as_secs_f64(),
            }
        });
        counted.collect()
    }
}
