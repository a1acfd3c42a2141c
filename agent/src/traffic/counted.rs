//! What connections did, as pages tell it and commands hear it.

use serde::{Deserialize, Serialize};

use crate::kernel::observe::{ClassTraffic, Traffic};

/// Of one class, through the tunnel or past it. Bytes and time are those of closed connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counted {
    pub class: String,
    pub steered: bool,
    pub opened: u64,
    pub closed: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub duration_seconds: f64,
}

impl Counted {
    pub fn of(traffic: &ClassTraffic) -> Vec<Self> {
        let counted = traffic.iter().map(|((class, steered), traffic)| {
            let Traffic {
                opened,
                closed,
                bytes_sent,
                bytes_received,
                duration_ns,
            } = *traffic;
            Self {
                class: class.label().to_owned(),
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

    /// Both ways.
    pub fn bytes(&self) -> u64 {
        self.sent_bytes.wrapping_add(self.received_bytes)
    }
}
