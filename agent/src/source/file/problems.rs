//! What is wrong with one entry, collected while it is read.

use std::rc::Rc;

use crate::source::{Diagnostic, Severity};

/// Quoted input is cut to this many characters.
const MAX_QUOTED: usize = 64;
/// What is wrong beyond this is counted only: an entry can have 65,535 bad ports.
const MAX_FOUND: usize = 32;

#[derive(Debug)]
pub(super) struct Problems {
    /// Shared by all entries of the file.
    file: Rc<str>,
    entry: String,
    found: Vec<Diagnostic>,
    has_errors: bool,
    more: usize,
}

impl Problems {
    pub(super) fn new(file: Rc<str>, entry: String) -> Self {
        Self {
            file,
            entry,
            found: Vec::new(),
            has_errors: false,
            more: 0,
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
        self.has_errors
    }

    /// All errors as one text, with file, line and field of each.
    pub(super) fn error_text(&self) -> String {
        let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
        let errors = self.found.iter().filter(is_error);
        let errors: Vec<String> = errors
            .map(|error| error.without_entry().to_string())
            .collect();
        errors.join("; ")
    }

    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        if self.more > 0
            && let Some(last) = self.found.last()
        {
            let mut more = last.clone();
            more.field = None;
            more.message = format!("and {} more", self.more);
            self.found.push(more);
        }
        self.found
    }

    fn add(&mut self, severity: Severity, line: usize, field: &str, message: String) {
        // Whatever came before it, the first error says why the entry was rejected.
        let is_first_error = severity == Severity::Error && !self.has_errors;
        self.has_errors |= is_first_error;
        if self.found.len() >= MAX_FOUND && !is_first_error {
            self.more += 1;
            return;
        }
        self.found.push(Diagnostic {
            severity,
            file: self.file.as_ref().to_owned(),
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
