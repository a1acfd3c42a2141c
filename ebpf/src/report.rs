//! Counters and events: what the agent observes.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use waysteer_common::abi::event::{DropEvent, VerdictEvent};
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::DropsToldValue;
use waysteer_common::verdict::{Hook, PacketAction, Verdict, counter_slot};
use zerocopy::network_endian::U64;

use crate::lookup;
use crate::maps::{COUNTERS, DROPS, DROPS_TOLD, EVENTS, PACKET_COUNTERS};

#[cfg_attr(not(feature = "other-code"), inline(always))]
#[cfg_attr(feature = "other-code", inline(never))]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no argument and has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// The same to a tick or so, in less than half the time.
#[inline(always)]
pub(crate) fn coarse_now() -> u64 {
    // SAFETY: the helper takes no argument and has no precondition.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Counts what a packet program did.
#[inline(always)]
pub(crate) fn action(action: PacketAction) {
    if let Some(counter) = PACKET_COUNTERS.get_ptr_mut(action as u32) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *counter += 1 };
    }
}

/// Counts a verdict, and tells it if somebody listens.
#[inline(always)]
pub(crate) fn verdict(hook: Hook, at: u64, netns: u64, flow: &TupleKey, verdict: &Verdict) {
    report_verdict(u32::from(hook.number()), at, netns, flow, verdict);
}

/// A global function, which the verifier looks at once in a program, as in [`crate::lookup`].
#[unsafe(no_mangle)]
#[inline(never)]
fn report_verdict(
    hook: u32,
    at: u64,
    netns: u64,
    flow: *const TupleKey,
    verdict: *const Verdict,
) -> u32 {
    // SAFETY: the verifier has proved of every caller that what is not null is of that size.
    let flow = unsafe { flow.as_ref() };
    // SAFETY: as above.
    let verdict = unsafe { verdict.as_ref() };
    if let (Some(flow), Some(verdict)) = (flow, verdict) {
        tell(hook as u8, at, netns, flow, verdict);
    }
    0
}

#[inline(always)]
fn tell(hook: u8, at: u64, netns: u64, flow: &TupleKey, verdict: &Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_slot(verdict.class, verdict.reason)) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *counter += 1 };
    }
    if lookup::settings().flags.get() & SettingsValue::EVENTS == 0 {
        return;
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        return action(PacketAction::EventLost);
    };
    entry.write(VerdictEvent {
        at: U64::new(at),
        netns: U64::new(netns),
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        hook,
        padding: [0; 3],
        verdict: verdict.to_wire(),
    });
    // The reader looks by itself: waking it costs more than all of the above.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Counts a packet that is held or dropped, or a connection that is refused, and tells of it if
/// somebody listens. Nothing depends on whether that succeeds. Where the hook does not know the pod,
/// `netns` is 0, and it is who has the address at the pod's end.
#[inline(always)]
pub(crate) fn dropped(hook: Hook, action: PacketAction, netns: u64, tuple: &TupleKey) {
    let what = u32::from(action.number()) << 8 | u32::from(hook.number());
    report_drop(what, netns, tuple);
}

/// A global function, which takes plain memory: the verifier looks at it once in a program, and not
/// once for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
fn report_drop(what: u32, netns: u64, tuple: *const TupleKey) -> u32 {
    let (action, hook) = ((what >> 8) as u8, what as u8);
    if let Some(counter) = PACKET_COUNTERS.get_ptr_mut(u32::from(action)) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *counter += 1 };
    }
    // SAFETY: the verifier has proved of every caller that what is not null is of that size.
    if let Some(tuple) = unsafe { tuple.as_ref() }
        && lookup::settings().flags.get() & SettingsValue::EVENTS != 0
        && !tell_drop(action, hook, netns, tuple)
    {
        self::action(PacketAction::DropUntold);
    }
    0
}

#[inline(always)]
fn tell_drop(action: u8, hook: u8, netns: u64, tuple: &TupleKey) -> bool {
    let netns = if netns != 0 {
        netns
    } else if hook == Hook::PodIngress.number() {
        lookup::pod_address(tuple.destination).unwrap_or(0)
    } else {
        lookup::pod_address(tuple.source).unwrap_or(0)
    };
    let at = now();
    if !may_tell(netns, at) {
        return false;
    }
    let Some(mut entry) = DROPS.reserve(0) else {
        return false;
    };
    entry.write(DropEvent {
        at: U64::new(at),
        netns: U64::new(netns),
        source: tuple.source,
        destination: tuple.destination,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
        action,
        hook,
        padding: [0; 2],
    });
    // As with verdicts, the reader looks by itself.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

/// Bounds what one pod, or whoever sends to it, has the agent read, and leaves room for the others.
/// CPUs that count at the same time may tell a few more.
#[inline(always)]
fn may_tell(netns: u64, at: u64) -> bool {
    let key = PodKey {
        netns: U64::new(netns),
    };
    let Some(told) = DROPS_TOLD.get_ptr_mut(key) else {
        let first = DropsToldValue {
            since: at,
            count: 1,
        };
        return DROPS_TOLD.insert(key, first, 0).is_ok();
    };
    // SAFETY: the verifier has seen the null check; the value stays allocated while we run.
    let told = unsafe { &mut *told };
    if at.wrapping_sub(told.since) >= DropsToldValue::SECOND_NS {
        told.since = at;
        told.count = 0;
    }
    told.count += 1;
    told.count <= DropsToldValue::A_SECOND
}
