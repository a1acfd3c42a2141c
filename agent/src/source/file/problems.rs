//! What is wrong with one entry, collected while it is read.

use crate::source::{Diagnostic, Severity};

/// Quoted input is cut to this many characters.
const MAX_QUOTED: usize = 64;

#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    entry: String,
    found: Vec<Diagnostic>,
}

impl Problems {
    pub(super) fn new(file: &str, entry: String) -> Self {
        Self {
            file: file.to_owned(),
            entry,
            found: Vec::new(),
        }
    }

    /// Kind and name of the entry.
    pub(super) fn entry(&self) -> &str {
        &self.entry
    }

    /// The entry cannot be accepted.
    pub(super) fn error(&mut self, line: usize, field: &str, message: impl Into<String>) {
        self.add(Severity::Error, line, field, message.into());
    }

    /// The entry is accepted, but somebody should look at it.
    pub(super) fn warning(&mut self, line: usize, field: &str, message: impl Into<String>) {
        self.add(Severity::Warning, line, field, message.into());
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// All errors as one text, with file, line and field of each.
    pub(super) fn error_text(&self) -> String {
        let errors: Vec<String> = self
            .errors()
            .map(|error| error.without_entry().to_string())
            .collect();
        errors.join("; ")
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found
    }

    fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
        self.found.iter().filter(is_error)
    }

    fn add(&mut self, severity: Severity, line: usize, field: &str, message: String) {
        self.found.push(Diagnostic {
            severity,
            file: self.file.clone(),
            line: Some(line),
            entry: Some(self.entry.clone()),
            field: (!field.is_empty()).then(|| field.to_owned()),
            message,
        });
    }
}

/// Input as it may stand in a message: quoted, escaped and not too long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
