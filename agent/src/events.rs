//! From the kernel's verdicts to names.

mod dropped;

use waysteer_common::abi::pod::PodKey;
use waysteer_common::addr::Address;
use waysteer_common::verdict::{Hook, Reason, Verdict};

use crate::address::socket_from_wire;
use crate::state::FlowRecord;
use crate::tunnel::View;

pub use self::dropped::describe_drop;

/// A verdict as an operator reads it. The number is given by whoever keeps it.
pub fn describe(
    view: &View,
    at: u64,
    hook: Hook,
    netns: u64,
    (destination, port): (Address, u16),
    verdict: &Verdict,
) -> FlowRecord {
    let next_hop = verdict.next_hop;
    let (pod, next_hop_workload, service) = view.with(|compiler| {
        let workload = |id: u64| compiler.workload(id).map(|entry| entry.name);
        let pod = compiler.tables().pods.get(&PodKey {
            netns: netns.into(),
        });
        (
            pod.and_then(|pod| workload(pod.workload.get())),
            workload(next_hop.workload),
            compiler.service(verdict.service).map(|entry| entry.name),
        )
    });
    FlowRecord {
        number: 0,
        at,
        hook: hook.label(),
        pod: pod.unwrap_or_else(|| format!("netns {netns}")),
        destination: socket_address(destination, port).unwrap_or_default(),
        class: verdict.class.label(),
        reason: verdict.reason.label(),
        steered: verdict.steer,
        hbone: next_hop.hbone,
        next_hop: socket_address(next_hop.address, next_hop.port),
        next_hop_workload,
        authority: socket_address(next_hop.authority, next_hop.authority_port)
            .filter(|_| next_hop.hbone),
        service,
        policy: policy(view, hook, netns, (destination, port), verdict),
    }
}

/// To be told who asks; it costs too much for every flow.
fn policy(
    view: &View,
    hook: Hook,
    netns: u64,
    (destination, port): (Address, u16),
    verdict: &Verdict,
) -> Option<String> {
    let is_asked_for = match hook {
        Hook::Explain => true,
        Hook::Connect | Hook::PodEgress | Hook::LoIngress | Hook::PodIngress => false,
    };
    let unknown = "not evaluated: policies are being written, or something was rejected that may \
                   be one, or may be this pod or its neighbour";
    if !is_asked_for {
        return None;
    }
    let to = match verdict.reason {
        Reason::LocalBypass | Reason::LocalPolicy | Reason::LocalNotEvaluated => {
            socket_from_wire(destination, port)?
        }
        Reason::ServiceLocalBypass => {
            socket_from_wire(verdict.next_hop.address, verdict.next_hop.port)?
        }
        _ => return None,
    };
    let decided = view.with(|compiler| compiler.authorizations().decide(netns, to.ip(), to.port()));
    match decided {
        Some(decision) => Some(decision.to_string()),
        None => verdict.steer.then(|| unknown.to_owned()),
    }
}

fn socket_address(address: Address, port: u16) -> Option<String> {
    socket_from_wire(address, port).map(|address| address.to_string())
}
