//! `waysteer status`, of a running agent.

mod page;

use std::fmt::Write as _;

use serde_json::Value;

use self::page::{Drift, Node, Pod, Shadow, Source, Status, Xds};
use super::programs::programs;
use super::table::{BAD, Cell, GOOD, NOTICE, facts, fitted};
use super::time::{ago, span};
use super::wrap::hanging;
use super::{ShowError, Shown, parse};
use crate::names::pods::find;
use crate::state::PodState;
use crate::traffic::Counted;

/// The node and all its pods.
///
/// # Errors
/// When the answer cannot be read.
pub fn status(answer: &str, width: Option<usize>) -> Result<Shown, ShowError> {
    let status: Status = parse(answer)?;
    Ok(Shown {
        is_well: status.is_well(),
        text: all(&status, width),
    })
}

/// One pod, as [`only`] has it.
///
/// # Errors
/// When the answer cannot be read.
pub fn pod(answer: &str, width: Option<usize>) -> Result<Shown, ShowError> {
    let pod: Pod = parse(answer)?;
    Ok(Shown {
        text: one(&pod, width),
        is_well: pod.state == PodState::Enrolled,
    })
}

/// What the agent says of one pod: `NAMESPACE/NAME`, a uid, or a name that is there once.
///
/// # Errors
/// When there is no such pod, or the answer cannot be read.
pub fn only(answer: &str, asked: &str) -> Result<String, ShowError> {
    let status: Status = parse(answer)?;
    let uid = &find(&status.pods, asked)?.uid;
    let value: Value = parse(answer)?;
    let pods = value["pods"].as_array().into_iter().flatten();
    let found: Option<&Value> = pods.into_iter().find(|pod| pod["uid"] == uid.as_str());
    Ok(found.unwrap_or(&Value::Null).to_string())
}

impl Status {
    fn is_well(&self) -> bool {
        let enrolled = |pod: &Pod| pod.state == PodState::Enrolled;
        let is_connected = self.source.xds.as_ref().is_none_or(|xds| xds.connected);
        is_connected
            && self.source.synced
            && self.source.pods_known
            && self.map_error.is_none()
            && self.verification.drift.is_empty()
            && self.verification.shadows.is_empty()
            && self.pods.iter().all(enrolled)
    }
}

fn all(status: &Status, width: Option<usize>) -> String {
    let Status { source, .. } = status;
    let mut lines = vec![
        [
            "agent".into(),
            format!("{} on {}", status.version, status.node).into(),
        ],
        ["source".into(), origin(source)],
        ["".into(), snapshot(source)],
        ["".into(), counts(source).into()],
        ["tunnel".into(), tunnel(&status.tunnel)],
        ["maps".into(), maps(status)],
        ["hooks".into(), hooks(&status.verification)],
    ];
    if status.errors + status.warnings > 0 {
        let text = format!(
            "errors: {}, warnings: {}; see below",
            status.errors, status.warnings
        );
        lines.push(["input".into(), Cell::from(text).styled(NOTICE)]);
    }
    let mut text = facts(width, lines);
    text.push('\n');
    text.push_str(&programs(&status.programs, width));
    text.push('\n');
    text.push_str(&pods(&status.pods, width));
    for shadow in &status.verification.shadows {
        let _ = write!(text, "\n{}", hanging(&shadow_line(shadow), width, 4));
    }
    for drift in &status.verification.drift {
        let line = format!("node: {}", drift_line(drift));
        let _ = write!(text, "\n{}", hanging(&line, width, 4));
    }
    if !status.diagnostics.is_empty() {
        text.push('\n');
    }
    for diagnostic in &status.diagnostics {
        text.push_str(&hanging(diagnostic, width, 4));
    }
    text
}

fn origin(source: &Source) -> Cell {
    let kind = &source.kind;
    match &source.xds {
        None => Cell::from(kind.as_str()),
        Some(Xds {
            connected: true,
            address,
            connected_seconds,
            ..
        }) => {
            let since = span(connected_seconds.unwrap_or_default());
            Cell::from(format!("{kind} {address}, connected for {since}")).styled(GOOD)
        }
        Some(Xds {
            address,
            age_seconds,
            last_error,
            ..
        }) => {
            let why = last_error.as_deref().unwrap_or("not tried yet");
            let age = span(*age_seconds);
            let text = format!("{kind} {address}, not connected, last known {age} ago: {why}");
            Cell::from(text).styled(BAD)
        }
    }
}

fn snapshot(source: &Source) -> Cell {
    let missing = source.xds.as_ref().and_then(|xds| xds.missing.as_deref());
    match (source.synced, source.pods_known) {
        (true, true) => Cell::from("complete snapshot, local pods known").styled(GOOD),
        (true, false) => {
            Cell::from("complete snapshot; the local pods are not known yet").styled(BAD)
        }
        (false, _) => {
            let missing = missing.unwrap_or("no complete snapshot yet");
            Cell::from(format!("everything enrolled is steered: {missing}")).styled(BAD)
        }
    }
}

fn counts(source: &Source) -> String {
    let Source {
        workloads,
        services,
        policies,
        rejected,
        ..
    } = source;
    format!("{workloads} workloads, {services} services, {policies} policies, {rejected} rejected")
}

fn tunnel(tunnel: &Value) -> Cell {
    let count = |name: &str| tunnel[name].as_u64().unwrap_or_default();
    match tunnel["kind"].as_str() {
        Some("ztunnel") => {
            let connected = tunnel["connected"].as_array().map_or(0, Vec::len);
            let text = format!(
                "ztunnel, {connected} connected: {} pods ready, {} waiting, {} refused",
                count("ready"),
                count("waiting"),
                count("refused"),
            );
            let is_well = connected > 0 && count("waiting") + count("refused") == 0;
            Cell::from(text).styled(if is_well { GOOD } else { BAD })
        }
        Some(kind) => Cell::from(kind),
        None => Cell::default(),
    }
}

fn maps(status: &Status) -> Cell {
    let entries = status.source.map_entries;
    match &status.map_error {
        Some(error) => Cell::from(format!("not written whole: {error}")).styled(BAD),
        None => {
            let ago = ago(status.verification.maps_verified_seconds_ago);
            Cell::from(format!("{entries} entries, compared {ago}")).styled(GOOD)
        }
    }
}

fn hooks(node: &Node) -> Cell {
    let ago = ago(node.verified_seconds_ago);
    match (node.shadows.len(), node.drift.len()) {
        (0, 0) => Cell::from(format!("ours come first, looked at {ago}")).styled(GOOD),
        (shadows, drifts) => {
            let text = format!(
                "others before ours: {shadows}, drifts: {drifts}; see below; looked at {ago}"
            );
            Cell::from(text).styled(BAD)
        }
    }
}

fn pods(pods: &[Pod], width: Option<usize>) -> String {
    if pods.is_empty() {
        return "no pods are to be enrolled here\n".to_owned();
    }
    let row = |pod: &Pod| {
        vec![
            format!("{}/{}", pod.namespace, pod.name).into(),
            state(&pod.state),
            ago(pod.verified_seconds_ago).into(),
            addresses(pod).into(),
            reason(&pod.state).into(),
        ]
    };
    let headers = ["POD", "STATE", "LOOKED AT", "ADDRESSES", "WHY"];
    fitted(width, &headers, pods.iter().map(row).collect())
}

pub(super) fn state(state: &PodState) -> Cell {
    let style = match state {
        PodState::Enrolled => GOOD,
        PodState::Pending(_) | PodState::Leaving => NOTICE,
        PodState::Drifted(_) | PodState::Failed(_) => BAD,
    };
    Cell::from(state.label()).styled(style)
}

pub(super) fn reason(state: &PodState) -> &str {
    match state {
        PodState::Enrolled | PodState::Leaving => "",
        PodState::Pending(why) | PodState::Drifted(why) | PodState::Failed(why) => why,
    }
}

fn addresses(pod: &Pod) -> String {
    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

fn one(pod: &Pod, width: Option<usize>) -> String {
    let cookie = pod
        .cookie
        .map_or_else(String::new, |cookie| format!(", cookie {cookie}"));
    let mut lines = vec![
        [
            "pod".into(),
            format!("{}/{}", pod.namespace, pod.name).into(),
        ],
        ["uid".into(), pod.uid.as_str().into()],
        ["netns".into(), format!("{}{cookie}", pod.netns).into()],
        ["addresses".into(), addresses(pod).into()],
        ["state".into(), state(&pod.state)],
    ];
    let why = reason(&pod.state);
    if !why.is_empty() {
        lines.push(["".into(), why.into()]);
    }
    lines.push(["looked at".into(), ago(pod.verified_seconds_ago).into()]);
    lines.push(["repaired".into(), format!("{} times", pod.repaired).into()]);
    for drift in &pod.drift {
        lines.push(["drift".into(), Cell::from(drift_line(drift)).styled(BAD)]);
    }
    let mut text = facts(width, lines);
    text.push('\n');
    text.push_str(&traffic(pod.traffic.as_deref(), width));
    text
}

/// What the pod's connections did: bytes and time are those of closed ones.
fn traffic(traffic: Option<&[Counted]>, width: Option<usize>) -> String {
    let Some(traffic) = traffic else {
        return "what its connections did could not be read: see the agent's log\n".to_owned();
    };
    if traffic.is_empty() {
        return "no connection of it was counted so far\n".to_owned();
    }
    let row = |counted: &Counted| {
        let Counted {
            class,
            steered,
            opened,
            closed,
            sent_bytes,
            received_bytes,
            duration_seconds,
        } = counted;
        vec![
            class.as_str().into(),
            if *steered { "tunnel" } else { "bypass" }.into(),
            opened.to_string().into(),
            closed.to_string().into(),
            sent_bytes.to_string().into(),
            received_bytes.to_string().into(),
            format!("{duration_seconds:.1}").into(),
        ]
    };
    let headers = [
        "CLASS", "PATH", "OPENED", "CLOSED", "SENT", "RECEIVED", "SECONDS",
    ];
    fitted(width, &headers, traffic.iter().map(row).collect())
}

fn drift_line(drift: &Drift) -> String {
    let Drift {
        kind,
        what,
        attempts,
        ..
    } = drift;
    let since = drift
        .since_seconds
        .map_or_else(String::new, |s| format!(" for {}", span(s)));
    let error = drift
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {error}"));
    format!("{kind}: {what}{since}, {attempts} attempts to repair it{error}")
}

fn shadow_line(shadow: &Shadow) -> String {
    let names: Vec<String> = shadow
        .before
        .iter()
        .map(|foreign| match foreign.name.as_str() {
            "" => format!("program {}", foreign.id),
            name => format!("{name} ({})", foreign.id),
        })
        .collect();
    let Shadow { hook, cgroup, .. } = shadow;
    if shadow.absent {
        format!(
            "{cgroup}: ours does not run at {hook}, these do: {}",
            names.join(", ")
        )
    } else {
        format!("{cgroup}: before ours at {hook}: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests;
