//! One look at the files: what has changed since the last one, as events.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::mesh::parse_mesh;
use super::pods::{self, ParsedPods, parse_pods};
use super::state::{FileState, PodsState};
use super::text::TextFile;
use crate::model::PodSpec;
use crate::source::{Diagnostic, Event, Report, Severity};

/// More diagnostics of one file than this are counted, not listed.
const MAX_DIAGNOSTICS: usize = 200;

#[derive(Debug)]
pub(super) struct Poller {
    /// With what was applied of it; none where the mesh comes from elsewhere.
    mesh: Option<(Origin, FileState)>,
    pods: Origin,
    pods_state: PodsState,
    /// The pods of the file, and the lines of those that are in it as they are here; `None`
    /// until it was read.
    wanted: Option<(Vec<PodSpec>, BTreeMap<String, usize>)>,
    /// What is wrong with the pods file itself.
    pods_diagnostics: Vec<Diagnostic>,
    /// The pods as they were sent last, each with its namespace's inode.
    sent: Option<Vec<(PodSpec, NetnsId)>>,
    waiting: bool,
}

/// Device and inode: another namespace at the same path is another pod.
type NetnsId = (u64, u64);

#[derive(Debug)]
struct Origin {
    file: TextFile,
    name: String,
    /// The report that was sent last.
    reported: Vec<Diagnostic>,
}

impl Poller {
    pub(super) fn new(mesh: Option<PathBuf>, pods: PathBuf) -> Self {
        Self {
            mesh: mesh.map(|mesh| (Origin::new(mesh), FileState::default())),
            pods: Origin::new(pods),
            pods_state: PodsState::default(),
            wanted: None,
            pods_diagnostics: Vec::new(),
            sent: None,
            waiting: false,
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let mesh = self.mesh.iter().map(|(mesh, _)| mesh.file.path());
        mesh.chain([self.pods.file.path()])
    }

    /// Whether a pod's network namespace is not there yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Reads the files.
    pub(super) fn poll(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.poll_mesh(&mut events);
        self.read_pods();
        self.poll_netns(&mut events);
        events
    }

    /// Looks at the pods' network namespaces only.
    pub(super) fn poll_netns(&mut self, events: &mut Vec<Event>) {
        let mut diagnostics = self.pods_diagnostics.clone();
        let mut present = Vec::new();
        let (wanted, lines) = match &self.wanted {
            Some((wanted, lines)) => (wanted.as_slice(), Some(lines)),
            None => (&[][..], None),
        };
        for pod in wanted {
            match netns_id(&pod.netns) {
                Ok(id) => present.push((pod.clone(), id)),
                Err(error) => diagnostics.push(Diagnostic {
                    severity: Severity::Error,
                    file: self.pods.name.clone(),
                    line: lines.and_then(|lines| lines.get(&pod.uid)).copied(),
                    entry: Some(pods::label(&pod.namespace, &pod.name, &pod.uid)),
                    field: Some("netns".to_owned()),
                    message: format!(
                        "{}: {error}{}; will be tried again",
                        pod.netns.display(),
                        hint(&pod.netns, &error)
                    ),
                }),
            }
        }
        self.waiting = present.len() < wanted.len();
        let was_read = self.wanted.is_some();
        events.extend(self.pods.report(diagnostics));
        if was_read && self.sent.as_ref() != Some(&present) {
            let pods = present.iter().map(|(pod, _)| pod.clone()).collect();
            events.push(Event::Pods(pods));
            self.sent = Some(present);
        }
    }

    fn poll_mesh(&mut self, events: &mut Vec<Event>) {
        let Some((mesh, state)) = &mut self.mesh else {
            return;
        };
        let text = match mesh.file.read() {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => {
                let diagnostic = Diagnostic::file(&mesh.name, None, error.to_string());
                events.extend(mesh.report(vec![diagnostic]));
                return;
            }
        };
        match parse_mesh(&text, &mesh.name) {
            Ok(mut parsed) => {
                let diagnostics = std::mem::take(&mut parsed.diagnostics);
                events.extend(mesh.report(diagnostics));
                events.push(Event::Mesh(state.next(parsed)));
            }
            Err(diagnostic) => events.extend(mesh.report(vec![diagnostic])),
        }
    }

    fn read_pods(&mut self) {
        let text = match self.pods.file.read() {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => {
                let diagnostic = Diagnostic::file(&self.pods.name, None, error.to_string());
                self.pods_diagnostics = vec![diagnostic];
                return;
            }
        };
        match parse_pods(&text, &self.pods.name) {
            Ok(mut parsed) => {
                self.pods_diagnostics = std::mem::take(&mut parsed.diagnostics);
                let lines = std::mem::take(&mut parsed.lines);
                self.wanted = Some((self.next_pods(parsed), lines));
            }
            Err(diagnostic) => self.pods_diagnostics = vec![diagnostic],
        }
    }

    fn next_pods(&mut self, parsed: ParsedPods) -> Vec<PodSpec> {
        self.pods_state.next(parsed)
    }
}

impl Origin {
    fn new(path: PathBuf) -> Self {
        Self {
            name: path.display().to_string(),
            file: TextFile::new(path),
            reported: Vec::new(),
        }
    }

    /// The report, if it differs from the last one.
    fn report(&mut self, mut diagnostics: Vec<Diagnostic>) -> Option<Event> {
        if let Some(more) = diagnostics.len().checked_sub(MAX_DIAGNOSTICS)
            && more > 0
        {
            // What was not applied comes before what was.
            diagnostics.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.severity));
            diagnostics.truncate(MAX_DIAGNOSTICS);
            let message = format!("and {more} more");
            diagnostics.push(Diagnostic::file(&self.name, None, message));
        }
        if self.reported == diagnostics {
            return None;
        }
        self.reported.clone_from(&diagnostics);
        Some(Event::Report(Report {
            origin: self.name.clone(),
            diagnostics,
        }))
    }
}

/// A named namespace's file exists before the namespace is mounted on it, so existence is not
/// enough.
fn netns_id(path: &Path) -> io::Result<NetnsId> {
    let is_namespace = statfs(path)?.filesystem_type() == NSFS_MAGIC;
    if !is_namespace {
        return Err(io::Error::other("not a namespace"));
    }
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A bind mount is a file like any other; a process's own is for those who might trace it.
fn hint(netns: &Path, error: &io::Error) -> &'static str {
    match error.kind() == io::ErrorKind::PermissionDenied && netns.starts_with("/proc") {
        true => " (the agent needs CAP_SYS_PTRACE for the namespaces of other processes)",
        false => "",
    }
}
