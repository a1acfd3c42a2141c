//! What of ours is in network namespaces, whoever has put it there: for `waysteer cleanup`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::attach::{AttachError, PodLinks};
use super::connections::{self, ConnectionsError, Verdicts, Which};
use super::hooks;
use super::link::Hook;
use super::netns::{NetnsError, PodNetns};
use super::redirect::{Before, Redirect, RedirectError};

/// Of `lo` in every netns.
const LOOPBACK_INDEX: u32 = 1;
/// The program of ours that every captured netns has.
const PROGRAM: &str = "lo_ingress";

/// A netns in which something of ours was found.
#[derive(Debug)]
pub struct NetnsTraces {
    pub cookie: u64,
    pub path: PathBuf,
    /// In words, a rule, route or parameter each.
    pub traces: Vec<String>,
    /// A program of ours is at work: its links are somebody's.
    pub is_captured: bool,
    /// Open connections that hang on what was found.
    pub connections: usize,
}

/// Paths of network namespaces, each once: those given, those with a name, those of processes.
pub fn namespaces(first: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = first.into_iter().collect();
    for directory in ["/run/netns", "/var/run/netns"] {
        paths.extend(entries(Path::new(directory)));
    }
    let is_process = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let processes = entries(Path::new("/proc")).into_iter().filter(is_process);
    paths.extend(processes.map(|process| process.join("ns/net")));
    let mut seen = BTreeSet::new();
    paths.retain(|path| {
        let identity = fs::metadata(path).map(|file| (file.dev(), file.ino()));
        identity.is_ok_and(|identity| seen.insert(identity))
    });
    paths
}

/// Looks without changing anything. `before` tells by the cookie what was written down; `verdicts`
/// are maps of sockets. Blocks.
pub fn look(
    path: &Path,
    before: impl Fn(u64) -> Option<Before> + Sync,
    verdicts: &[Verdicts],
) -> Result<NetnsTraces, TraceError> {
    let (netns, found) = PodNetns::visit(path, |netns| {
        let traces = Redirect::traces_here(before(netns.cookie()).as_ref())?;
        let connections = match traces.is_empty() {
            true => 0,
            false => connections::count_here(verdicts)?,
        };
        Ok::<_, TraceError>((traces, is_captured_here(), connections))
    })?;
    let (traces, is_captured, connections) = found?;
    Ok(NetnsTraces {
        cookie: netns.cookie(),
        path: path.to_owned(),
        traces,
        is_captured,
        connections,
    })
}

/// Undoes what [`look`] has found, if no connection is left that hangs on it. Blocks.
pub fn remove(
    path: &Path,
    before: Option<Before>,
    verdicts: &[Verdicts],
) -> Result<(), TraceError> {
    let (_, removed) = PodNetns::visit(path, |_| {
        connections::end_here(verdicts, Which::All)?;
        Ok::<_, TraceError>(Redirect::plan_here(before)?.remove_here()?)
    })?;
    removed
}

/// Takes the programs off a netns, in the order in which nothing that was to be encrypted gets out:
/// what lets in; what delivers to the tunnel, once nothing is on its way to it; the guard, once no
/// connection is left that it holds back. Its pod must be out of the maps. Blocks.
pub fn release(path: &Path, mut links: PodLinks, verdicts: &[Verdicts]) -> Result<(), TraceError> {
    let (_, released) = PodNetns::visit(path, |_| {
        links.detach_one("pod_ingress")?;
        connections::end_here(verdicts, Which::Steered)?;
        links.detach_one(PROGRAM)?;
        connections::end_here(verdicts, Which::All)?;
        Ok::<_, TraceError>(links.detach()?)
    })?;
    released
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
}

/// In the calling thread's netns.
fn is_captured_here() -> bool {
    let programs = hooks::on_device(LOOPBACK_INDEX, Hook::TcxIngress).unwrap_or_default();
    programs
        .into_iter()
        .any(|id| hooks::name(id).name == PROGRAM)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
