//! What connections did: of the node by class, and of each pod by destination.
//!
//! A system call's program may be interrupted by another one of the same CPU that counts the same,
//! when a connection ends: so each number is added to in one instruction.

use aya_ebpf::bindings::BPF_NOEXIST;
use waysteer_common::abi::key::TrafficKey;
use waysteer_common::abi::value::TrafficValue;
use waysteer_common::verdict::traffic_slot;

use crate::maps::{OTHER_TRAFFIC, POD_TRAFFIC, TRAFFIC};

const NOTHING: TrafficValue = TrafficValue {
    opened: 0,
    closed: 0,
    bytes_sent: 0,
    bytes_received: 0,
    duration_ns: 0,
};

#[inline(always)]
pub(super) fn opened(key: &TrafficKey) {
    count(key, |traffic| {
        // SAFETY: `count` gives a whole value.
        add(unsafe { &raw mut (*traffic).opened }, 1);
    });
}

#[inline(always)]
pub(super) fn closed(key: &TrafficKey, sent: u64, received: u64, duration: u64) {
    count(key, |traffic| {
        // SAFETY: `count` gives a whole value.
        let traffic = unsafe { &mut *traffic };
        add(&raw mut traffic.closed, 1);
        add(&raw mut traffic.bytes_sent, sent);
        add(&raw mut traffic.bytes_received, received);
        add(&raw mut traffic.duration_ns, duration);
    });
}

/// Once for the node, and once for the pod: where its entry has no room, with all others that have
/// none, so that no count is lost.
#[inline(always)]
fn count(key: &TrafficKey, change: impl Fn(*mut TrafficValue)) {
    let slot = traffic_slot(key.class, key.flags & TrafficKey::STEER != 0);
    if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
        change(traffic);
    }
    if let Some(traffic) = of_pod(key) {
        change(traffic);
    } else if let Some(traffic) = OTHER_TRAFFIC.get_ptr_mut(slot) {
        change(traffic);
    }
}

#[inline(always)]
fn of_pod(key: &TrafficKey) -> Option<*mut TrafficValue> {
    if let Some(traffic) = POD_TRAFFIC.get_ptr_mut(key) {
        return Some(traffic);
    }
    // Another CPU may have been faster, which is as good.
    let _ = POD_TRAFFIC.insert(key, NOTHING, u64::from(BPF_NOEXIST));
    POD_TRAFFIC.get_ptr_mut(key)
}

#[inline(always)]
fn add(counter: *mut u64, amount: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `counter` is aligned, and programs write to it in this way only.
    unsafe {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(counter) }
        .fetch_add(amount, core::sync::atomic::Ordering::Relaxed);
}
