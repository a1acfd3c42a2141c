//! What the tunnel did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub struct Stats { $($(#[$meta])* pub(super) $name: Counter,)* }

        /// The counters at one time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct StatsSnapshot { $($(#[$meta])* pub $name: u64,)* }

        impl Stats {
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.get(),)* }
            }
        }
    };
}

stats! {
    outbound_hbone,
    outbound_plain,
    /// Connections that were reset because no next hop was known.
    outbound_refused,
    /// Connections whose next hop could not be reached, or was not who was expected.
    outbound_failed,
    /// Connections whose verdict was not in `CONNECTIONS` and was made again.
    outbound_reclassified,
    inbound_hbone,
    inbound_plain,
    inbound_refused,
    inbound_failed,
    bytes_sent,
    bytes_received,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
