//! What is known of open connections that pods have begun, by socket: from `connect()`, where nothing
//! else is known yet that they could be found by, until they are closed.
//!
//! Slots of an array: an entry of a hash map, made and removed, costs more than all else that is done
//! for a connection. Two sockets may meet in a slot; then the later one has its verdict on itself, in
//! `SOCKETS`. Only a connection is in a later one's way, and not an attempt, of which nobody hears when it
//! fails. So of two attempts within the same microseconds that meet in a slot one has no verdict any
//! more, and never the other's: the guard judges its first packet, and the tunnel makes it again.

use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::value::ConnectionValue;
use waysteer_common::verdict::Verdict;
use zerocopy::network_endian::U64;

use crate::atomic::{compare_exchange, exchange};
use crate::maps::CONNECTIONS;

/// From `connect()`; false where the slot is another connection's.
#[inline(always)]
pub(crate) fn begin(cookie: u64, now: u64, netns: u64, verdict: &Verdict) -> bool {
    begin_connection(cookie, now, netns, verdict) != 0
}

/// A global function, which the verifier looks at once in a program, as in [`crate::lookup`].
#[unsafe(no_mangle)]
#[inline(never)]
fn begin_connection(cookie: u64, now: u64, netns: u64, verdict: *const Verdict) -> u32 {
    // SAFETY: the verifier has proved of every caller that what is not null is of that size.
    match unsafe { verdict.as_ref() } {
        Some(verdict) => u32::from(put(cookie, now, netns, verdict)),
        None => 0,
    }
}

#[inline(always)]
fn put(cookie: u64, now: u64, netns: u64, verdict: &Verdict) -> bool {
    let Some(slot) = CONNECTIONS.get_ptr_mut(ConnectionValue::slot(cookie)) else {
        return false;
    };
    // SAFETY: only an address is formed.
    let owner = unsafe { &raw mut (*slot).cookie };
    // SAFETY: the slot is a whole value.
    let last = unsafe { owner.read_volatile() };
    let is_taken = || last != 0 && last != cookie && is_open(slot);
    if last == ConnectionValue::BUSY
        || is_taken()
        || compare_exchange(owner, last, ConnectionValue::BUSY) != last
    {
        return false;
    }
    if is_taken() {
        // It has become a connection meanwhile.
        exchange(owner, last);
        return false;
    }
    // SAFETY: who finds the slot busy writes nothing, and who reads asks first whose it is.
    let slot = unsafe { &mut *slot };
    slot.begun_at = now;
    slot.is_open = 0;
    slot.netns = U64::new(netns);
    slot.verdict = verdict.to_wire();
    exchange(owner, cookie);
    true
}

/// Whether it is a connection, and no attempt.
#[inline(always)]
fn is_open(slot: *mut ConnectionValue) -> bool {
    // SAFETY: only an address is formed.
    let is_open = unsafe { &raw const (*slot).is_open };
    // SAFETY: the slot is a whole value.
    unsafe { is_open.read_volatile() != 0 }
}

/// A socket's slot.
#[inline(always)]
pub(crate) fn find(cookie: u64) -> Option<*mut ConnectionValue> {
    let slot = CONNECTIONS.get_ptr_mut(ConnectionValue::slot(cookie))?;
    // SAFETY: only an address is formed.
    let owner = unsafe { &raw const (*slot).cookie };
    // SAFETY: the slot is a whole value.
    let is_it = unsafe { owner.read_volatile() } == cookie;
    is_it.then_some(slot)
}

/// From `sock_ops`: it has all of its addresses.
#[inline(always)]
pub(crate) fn open(slot: *mut ConnectionValue, tuple: &TupleKey) {
    // SAFETY: `find` gives a whole value.
    let slot = unsafe { &mut *slot };
    slot.tuple = *tuple;
    slot.is_open = 1;
}

/// The slot is nobody's any more.
#[inline(always)]
pub(crate) fn end(slot: *mut ConnectionValue) {
    // SAFETY: only an address is formed.
    let owner = unsafe { &raw mut (*slot).cookie };
    exchange(owner, 0);
}
