//! Asking a running agent, over its socket.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::wait::patient;

/// A verdict as `/debug/flows` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub number: u64,
    pub hook: String,
    pub pod: String,
    pub destination: String,
    pub class: String,
    pub reason: String,
    pub steered: bool,
    pub hbone: bool,
    pub next_hop: Option<String>,
    pub next_hop_workload: Option<String>,
    pub authority: Option<String>,
    pub service: Option<String>,
}

/// What the kernel says of a flow that nobody has sent: its reason, and what policies say.
pub fn explain(socket: &Path, pod: &str, to: SocketAddr) -> Result<(String, String)> {
    let (status, body) = get(socket, &format!("/explain?pod={pod}&destination={to}"))?;
    if status != 200 {
        bail!("/explain: {status} {body}");
    }
    let said: serde_json::Value = serde_json::from_str(&body)?;
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    Ok((text("reason"), text("policy")))
}

/// Status code and body of a page.
pub fn get(socket: &Path, page: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).context("the agent's socket")?;
    stream.set_read_timeout(Some(patient(Duration::from_secs(5))))?;
    write!(stream, "GET {page} HTTP/1.0\r\nhost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).context("the answer has no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The verdicts from record `since` on.
pub fn flows(socket: &Path, since: u64) -> Result<Vec<Flow>> {
    match get(socket, &format!("/debug/flows?since={since}"))? {
        (200, body) => Ok(serde_json::from_str(&body)?),
        (status, body) => bail!("/debug/flows: {status} {body}"),
    }
}

/// The value of a metric with all of the given labels; 0 where there is none.
pub fn metric(socket: &Path, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
    let (_, text) = get(socket, "/metrics")?;
    let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    let mut sum = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').context("a sample has a value")?;
        let this = series.split('{').next().unwrap_or(series);
        let matches = this == name || this.strip_suffix("_total") == Some(name);
        if matches && wanted.iter().all(|label| series.contains(label.as_str())) {
            sum += value.parse::<f64>()? as u64;
        }
    }
    Ok(sum)
}

/// Each local pod's state, by uid: `enrolled`, or another word and why.
pub fn pod_states(socket: &Path) -> Result<BTreeMap<String, String>> {
    let (_, body) = get(socket, "/status")?;
    let status: serde_json::Value = serde_json::from_str(&body)?;
    let pods = status["pods"].as_array().context("a list of pods")?;
    let state = |pod: &serde_json::Value| {
        let uid = pod["uid"].as_str().context("a uid")?;
        let text = match &pod["state"] {
            serde_json::Value::String(word) => word.clone(),
            serde_json::Value::Object(states) => states
                .iter()
                .map(|(word, why)| format!("{word}: {why}"))
                .collect(),
            other => bail!("pod {uid} has the state {other}"),
        };
        Ok((uid.to_owned(), text))
    };
    pods.iter().map(state).collect()
}
