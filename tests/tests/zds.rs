//! The agent as the server of ZDS, against a peer that was written from the protocol's text.

mod answers;
mod cleanup;
mod ends;
mod keeps;
mod snapshot;
mod upgrade;

use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::wait::wait_until;
use waysteer_tests::zds::Connection;

const PATIENCE: Duration = Duration::from_secs(20);
/// The pods of the bed that are to be captured, in order.
const PODS: [&str; 3] = ["client", "other", "server"];

/// An agent that waits for a ztunnel.
fn bed() -> Result<Bed> {
    let bed = Bed::new(&Options {
        tunnel: TunnelKind::Zds,
        start_remote_agent: false,
        ..Options::default()
    })?;
    wait_until_listening(&bed)?;
    Ok(bed)
}

/// Until the agent accepts, and knows its pods.
fn wait_until_listening(bed: &Bed) -> Result<()> {
    wait_until_known(bed, &PODS)?;
    wait_until(PATIENCE, "the agent listens", || {
        Connection::open_silently(&bed.zds_socket()).is_ok()
    })
}

/// Until the agent says something, whatever it is, of these pods and of no others.
fn wait_until_known(bed: &Bed, pods: &[&str]) -> Result<()> {
    wait_until(PATIENCE, &format!("{pods:?} are known"), || {
        let states = admin::pod_states(&bed.socket());
        states.is_ok_and(|states| states.keys().eq(pods))
    })
}

/// Waits until exactly these pods are enrolled.
fn wait_enrolled(bed: &Bed, pods: &[&str]) -> Result<()> {
    let mut last = None;
    wait_until(PATIENCE, &format!("{pods:?} are enrolled"), || {
        last = admin::pod_states(&bed.socket()).ok();
        let states = last.iter().flatten();
        let enrolled = states.filter(|(_, state)| *state == "enrolled");
        let mut enrolled: Vec<&str> = enrolled.map(|(uid, _)| uid.as_str()).collect();
        enrolled.sort_unstable();
        enrolled == pods
    })
    .with_context(|| format!("{last:?}"))
}

/// Waits until a pod's state contains a text.
fn wait_for_state(bed: &Bed, pod: &str, text: &str) -> Result<()> {
    let mut last = None;
    wait_until(PATIENCE, &format!("{pod} is {text:?}"), || {
        last = admin::pod_states(&bed.socket()).ok();
        let state = last.as_ref().and_then(|states| states.get(pod));
        state.is_some_and(|state| state.contains(text))
    })
    .with_context(|| format!("{last:?}"))
}
