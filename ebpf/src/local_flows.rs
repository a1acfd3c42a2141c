//! Connections that `pod_ingress` lets in past the tunnel, by tuple.
//!
//! Those that `sock_ops` will see end are in slots of an array: an entry of a hash map costs more than
//! all else that is done for one. The others, and those whose slot is taken, are in `LOCAL_FLOWS`.

use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::names::LOCAL_FLOW_TTL_NS;
use waysteer_common::abi::value::{LocalConnectionValue, LocalFlowValue};
use waysteer_common::verdict::PacketAction;
use zerocopy::network_endian::U64;

use crate::atomic::{compare_exchange, exchange};
use crate::maps::{LOCAL_CONNECTIONS, LOCAL_FLOWS};
use crate::report;

/// Lets one in from now on, and until it ends, of which [`end`] tells.
#[inline(always)]
pub(crate) fn begin(tuple: &TupleKey, now: u64, recorded: PacketAction) {
    if begin_slot(tuple, now) {
        report::action(recorded);
    } else {
        record(tuple, now, recorded);
    }
}

/// Lets one in of which nobody will tell when it ends.
#[inline(always)]
pub(crate) fn record(tuple: &TupleKey, now: u64, recorded: PacketAction) {
    let value = LocalFlowValue {
        recorded_at: U64::new(now),
    };
    report::action(match LOCAL_FLOWS.insert(tuple, value, 0) {
        Ok(()) => recorded,
        Err(_) => PacketAction::RecordFailed,
    });
}

/// Whether a packet may begin a connection that is to be let in. It stays so: a SYN may be sent again.
#[inline(always)]
pub(crate) fn lets_in(tuple: &TupleKey) -> bool {
    if recorded_at(tuple).is_some_and(is_recent) {
        return true;
    }
    // Also where a slot still has an earlier connection of the same tuple, whose end nobody saw.
    LOCAL_FLOWS.get_ptr(tuple).is_some_and(|value| {
        // SAFETY: the verifier has seen the null check; the value stays allocated while we run.
        is_recent(unsafe { (*value).recorded_at.get() })
    })
}

#[inline(always)]
fn is_recent(recorded_at: u64) -> bool {
    report::coarse_now() < recorded_at.wrapping_add(LOCAL_FLOW_TTL_NS)
}

/// Whether it was let in, however long ago.
#[inline(always)]
pub(crate) fn is_known(tuple: &TupleKey) -> bool {
    recorded_at(tuple).is_some() || LOCAL_FLOWS.get_ptr(tuple).is_some()
}

/// A function of its own: the verifier forgets on which of its ways it came to an answer.
#[inline(never)]
fn begin_slot(tuple: &TupleKey, now: u64) -> bool {
    let Some(slot) = slot(tuple) else {
        return false;
    };
    let time = time(slot);
    // SAFETY: the slot is a whole value.
    let last = unsafe { time.read_volatile() };
    let is_taken = last != 0 && now < last.wrapping_add(LOCAL_FLOW_TTL_NS);
    if last == LocalConnectionValue::BUSY
        || is_taken
        || compare_exchange(time, last, LocalConnectionValue::BUSY) != last
    {
        return false;
    }
    // SAFETY: who finds the slot busy writes nothing, and who reads asks before and afterwards.
    unsafe { (*slot).tuple = *tuple };
    exchange(time, now);
    true
}

/// Nobody sends a SYN of it any more.
#[inline(never)]
pub(crate) fn end(tuple: &TupleKey) {
    if let Some(at) = recorded_at(tuple)
        && let Some(slot) = slot(tuple)
    {
        compare_exchange(time(slot), at, 0);
    }
}

/// When the connection was given its slot.
#[inline(always)]
fn recorded_at(tuple: &TupleKey) -> Option<u64> {
    let slot = slot(tuple)?;
    let time = time(slot);
    // Two barriers: whoever takes the slot meanwhile has another time.
    let at = compare_exchange(time, 0, 0);
    if at == 0 || at == LocalConnectionValue::BUSY {
        return None;
    }
    // SAFETY: the slot is a whole value.
    let is_it = unsafe { (*slot).tuple }.same(tuple);
    (is_it && compare_exchange(time, at, at) == at).then_some(at)
}

#[inline(always)]
fn slot(tuple: &TupleKey) -> Option<*mut LocalConnectionValue> {
    LOCAL_CONNECTIONS.get_ptr_mut(LocalConnectionValue::slot(tuple))
}

#[inline(always)]
fn time(slot: *mut LocalConnectionValue) -> *mut u64 {
    // SAFETY: only an address is formed.
    unsafe { &raw mut (*slot).recorded_at }
}
