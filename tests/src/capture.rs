//! What is on the wire: packets of the node's interfaces, summed up by flow as they pass.
//!
//! Every packet is counted; of the payload the first part of each flow is kept. Questions read what
//! the kernel has queued first, so a packet that was received anywhere before the question is in the
//! answer: "nothing was seen" needs no waiting.

mod filter;
mod frame;
mod socket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use crate::netns::NetNs;
pub use filter::Filter;
pub use frame::Protocol;
use frame::Segment;
use socket::Tap;

/// Where HBONE is spoken.
const HBONE_PORT: u16 = 15008;

/// Of each flow so much payload is kept.
const KEPT_OF_A_FLOW: usize = 256 * 1024;
/// And of all flows together.
const KEPT: usize = 64 * 1024 * 1024;

/// One direction of a connection, on one interface. A packet that the node forwards is seen twice,
/// on the interface that it came by and on the one that it left by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    pub interface: String,
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// What passed of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    /// Payload bytes, retransmissions included.
    pub bytes: u64,
    /// Segments with SYN and without ACK.
    pub syns: u64,
    /// Every flag of TCP's that any packet had.
    pub flags: u8,
    /// TCP's sequence number of the first packet.
    pub first_sequence: Option<u32>,
    /// The first payload bytes, in the order in which they passed.
    pub payload: Vec<u8>,
}

impl Traffic {
    pub fn contains(&self, needle: &[u8]) -> bool {
        !needle.is_empty()
            && self
                .payload
                .windows(needle.len())
                .any(|window| window == needle)
    }

    /// Begins with a TLS record that holds a ClientHello.
    pub fn is_client_hello(&self) -> bool {
        matches!(self.payload.as_slice(), [0x16, 3, _, _, _, 1, ..])
    }
}

/// A running capture on some interfaces of a namespace; it ends when dropped. `lo` is no wire: its
/// packets would be counted twice.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    taps: Vec<Tap>,
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    flows: BTreeMap<FlowId, Traffic>,
    kept: usize,
    lost: u64,
}

impl Capture {
    /// Starts to record; what passes after the return is in it.
    pub fn start(netns: &NetNs, interfaces: &[&str]) -> Result<Self> {
        Self::open(netns, interfaces, None)
    }

    /// The same for packets that a filter lets through; the others do not exist.
    pub fn start_filtered(netns: &NetNs, interfaces: &[&str], filter: &Filter) -> Result<Self> {
        Self::open(netns, interfaces, Some(filter))
    }

    fn open(netns: &NetNs, interfaces: &[&str], filter: Option<&Filter>) -> Result<Self> {
        let taps: Result<Vec<Tap>> = netns.run(|| {
            let open =
                |name: &&str| Tap::open(name, filter).with_context(|| format!("capture on {name}"));
            interfaces.iter().map(open).collect()
        });
        let shared = Arc::new(Shared {
            taps: taps?,
            state: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let reader = Arc::clone(&shared);
        let thread = netns.spawn("capture", move || reader.read_until_stopped())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Everything so far that a condition holds for.
    pub fn flows(
        &self,
        mut wanted: impl FnMut(&FlowId, &Traffic) -> bool,
    ) -> Vec<(FlowId, Traffic)> {
        let state = self.shared.drain();
        let flows = state
            .flows
            .iter()
            .filter(|(id, traffic)| wanted(id, traffic));
        flows
            .map(|(id, traffic)| (id.clone(), traffic.clone()))
            .collect()
    }

    /// The sum over the flows that a condition holds for, without payload.
    pub fn sum(&self, mut wanted: impl FnMut(&FlowId) -> bool) -> Traffic {
        let state = self.shared.drain();
        let mut sum = Traffic::default();
        for (_, traffic) in state.flows.iter().filter(|(id, _)| wanted(id)) {
            sum.packets += traffic.packets;
            sum.bytes += traffic.bytes;
            sum.syns += traffic.syns;
        }
        sum
    }

    /// The sum of what went to an address and port.
    pub fn sum_to(&self, destination: SocketAddr) -> Traffic {
        self.sum(|id| id.destination == destination)
    }

    /// The flows in which some bytes stood in the clear.
    pub fn seen(&self, needle: &[u8]) -> Vec<FlowId> {
        self.ids(|_, traffic| traffic.contains(needle))
    }

    /// The flows to port 15008 that began as TLS does.
    pub fn hbone(&self) -> Vec<FlowId> {
        self.ids(|id, traffic| id.destination.port() == HBONE_PORT && traffic.is_client_hello())
    }

    /// The flows to port 15008 with a payload that did not: application bytes where none may be.
    pub fn broken_hbone(&self) -> Vec<FlowId> {
        self.ids(|id, traffic| {
            id.destination.port() == HBONE_PORT && traffic.bytes > 0 && !traffic.is_client_hello()
        })
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        let mut state = self.shared.drain();
        *state = State::default();
    }

    /// Packets that passed unseen because the reader was too slow; answers are complete only at 0.
    pub fn lost(&self) -> u64 {
        let mut state = self.shared.drain();
        state.lost += self.shared.taps.iter().map(Tap::lost).sum::<u64>();
        state.lost
    }

    fn ids(&self, mut wanted: impl FnMut(&FlowId, &Traffic) -> bool) -> Vec<FlowId> {
        let state = self.shared.drain();
        let flows = state
            .flows
            .iter()
            .filter(|(id, traffic)| wanted(id, traffic));
        flows.map(|(id, _)| id.clone()).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn read_until_stopped(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            socket::wait(&self.taps);
            drop(self.drain());
        }
    }

    /// Takes what the kernel has queued. Whoever asks does it too, so no answer lags behind.
    fn drain(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for tap in &self.taps {
            tap.read(|segment| state.add(tap.interface(), segment));
        }
        state
    }
}

impl State {
    fn add(&mut self, interface: &str, segment: &Segment<'_>) {
        let id = FlowId {
            interface: interface.to_owned(),
            protocol: segment.protocol,
            source: segment.source,
            destination: segment.destination,
        };
        let traffic = self.flows.entry(id).or_default();
        if traffic.packets == 0 {
            traffic.first_sequence = segment.sequence;
        }
        traffic.packets += 1;
        traffic.bytes += segment.payload.len() as u64;
        traffic.syns += u64::from(segment.is_first);
        traffic.flags |= segment.flags;
        let room = (KEPT_OF_A_FLOW - traffic.payload.len()).min(KEPT - self.kept);
        let kept = segment.payload.get(..room).unwrap_or(segment.payload);
        traffic.payload.extend_from_slice(kept);
        self.kept += kept.len();
    }
}
