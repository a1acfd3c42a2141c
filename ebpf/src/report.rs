//! Counters and events: what the agent observes.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use waysteer_common::abi::event::VerdictEvent;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::verdict::{Hook, PacketAction, Verdict, counter_slot};
use zerocopy::network_endian::U64;

use crate::lookup;
use crate::maps::{COUNTERS, EVENTS, PACKET_COUNTERS};

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no argument and has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// Counts what a packet program did.
#[cfg_attr(not(feature = "other-code"), inline(always))]
#[cfg_attr(feature = "other-code", inline(never))]
pub(crate) fn action(action: PacketAction) {
    if let Some(counter) = PACKET_COUNTERS.get_ptr_mut(action as u32) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *counter += 1 };
    }
}

/// Counts a verdict, and tells it if somebody listens. A function of its own, so that its stack
/// frame is gone when it returns.
#[inline(never)]
pub(crate) fn verdict(hook: Hook, netns: u64, flow: &TupleKey, verdict: &Verdict) {
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
        at: U64::new(now()),
        netns: U64::new(netns),
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        hook: hook.number(),
        padding: [0; 3],
        verdict: verdict.to_wire(),
    });
    // The reader looks by itself: waking it costs more than all of the above.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
