//! A verdict on its way from `connect()` to `sock_ops`, in the same system call: of a socket that
//! connects, nothing else is known yet that it could be found by.
//!
//! Two sockets may meet in a slot. Then one verdict is lost, and never mistaken for the other's: the
//! guard judges the connection's first packet, and the tunnel makes the verdict again.

use waysteer_common::abi::value::{HandedOverValue, VerdictValue};
use waysteer_common::verdict::Verdict;

use crate::maps::HANDED_OVER;

/// From `connect()`.
#[inline(always)]
pub(crate) fn give(cookie: u64, verdict: &Verdict) {
    hand_over(cookie, verdict);
}

/// A global function, which the verifier looks at once in a program, as in [`crate::lookup`].
#[unsafe(no_mangle)]
#[inline(never)]
fn hand_over(cookie: u64, verdict: *const Verdict) -> u32 {
    // SAFETY: the verifier has proved of every caller that what is not null is of that size.
    if let Some(verdict) = unsafe { verdict.as_ref() } {
        put(cookie, verdict.to_wire());
    }
    0
}

#[inline(always)]
fn put(cookie: u64, verdict: VerdictValue) {
    let Some(slot) = HANDED_OVER.get_ptr_mut(HandedOverValue::slot(cookie)) else {
        return;
    };
    // SAFETY: only an address is formed.
    let owner = unsafe { &raw mut (*slot).cookie };
    if exchange(owner, HandedOverValue::BUSY) == HandedOverValue::BUSY {
        return;
    }
    // SAFETY: who finds the slot busy writes nothing, and who reads asks whose it is afterwards.
    unsafe { (*slot).verdict = verdict };
    exchange(owner, cookie);
}

/// To `sock_ops`, once.
#[inline(always)]
pub(crate) fn take(cookie: u64) -> Option<VerdictValue> {
    let slot = HANDED_OVER.get_ptr_mut(HandedOverValue::slot(cookie))?;
    // SAFETY: only an address is formed.
    let owner = unsafe { &raw mut (*slot).cookie };
    // SAFETY: the slot is a whole value.
    if unsafe { owner.read_volatile() } != cookie {
        return None;
    }
    // SAFETY: as above; whether somebody was writing meanwhile is asked below.
    let verdict = unsafe { (*slot).verdict };
    (compare_exchange(owner, cookie, 0) == cookie).then_some(verdict)
}

#[inline(always)]
fn exchange(word: *mut u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `word` is aligned, and of a map's value.
    return unsafe {
        use core::intrinsics::{AtomicOrdering, atomic_xchg};
        atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(word, new)
    };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .swap(new, core::sync::atomic::Ordering::SeqCst)
}

/// Gives what was there.
#[inline(always)]
fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `word` is aligned, and of a map's value.
    return unsafe {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new)
            .0
    };
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as above.
        let word = unsafe { AtomicU64::from_ptr(word) };
        match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }
}
