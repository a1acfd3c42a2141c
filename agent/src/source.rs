//! Where the mesh and the local pods come from.

#[cfg(feature = "agent")]
pub mod file;
pub mod xds;

use std::fmt;

use crate::model::{Delta, PodSpec};

/// What a source tells the agent; sent over a bounded channel, in order.
#[derive(Debug, Clone)]
pub enum Event {
    /// Changes of the mesh. The first one after a start carries `complete` as soon as the source
    /// has read everything it has.
    Mesh(Delta),
    /// All local pods that are to be captured and whose network namespace exists.
    Pods(Vec<PodSpec>),
    /// What is wrong with the input.
    Report(Report),
}

/// Everything that is wrong with one origin at present; takes the place of its last report. Sent
/// when it changes, and empty when all is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub origin: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    /// Counted from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// Kind and name, e.g. `service default/web`.
    pub entry: Option<String>,
    /// The path of the field, e.g. `workloadIps[0]`.
    pub field: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Accepted, but probably not what was meant.
    Warning,
    /// The entry, or the whole file where no entry is named, was not applied.
    Error,
}

impl Diagnostic {
    /// About a file as a whole.
    pub(crate) fn file(file: &str, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line,
            entry: None,
            field: None,
            message: message.into(),
        }
    }

    /// The same without the entry's name, for where that has been said.
    pub(crate) fn without_entry(&self) -> Self {
        Self {
            entry: None,
            ..self.clone()
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [&self.entry, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.message)
    }
}
