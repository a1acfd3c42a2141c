//! What is wrong at present: for the operator, and for istiod.

use super::error::SessionError;
use super::proto::discovery::Status as ErrorDetail;
use super::state::{Refused, XdsState};
use crate::error::chain;
use crate::source::{Diagnostic, Event, Report, Severity};

/// More than this are counted, not listed: a mesh can have 10⁵ resources, each of them wrong.
const MOST: usize = 200;
/// `INVALID_ARGUMENT` of gRPC.
const INVALID_ARGUMENT: i32 = 3;

/// Says what is wrong where that has changed.
#[derive(Debug)]
pub(super) struct Reporter {
    address: String,
    /// What was said last.
    reported: Vec<Diagnostic>,
}

impl Reporter {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            reported: Vec::new(),
        }
    }

    /// There is no connection, besides what is wrong with resources.
    pub(super) fn disconnected(&mut self, error: &SessionError, state: &XdsState) -> Option<Event> {
        let mut diagnostics = vec![self.diagnostic(chain(error))];
        if error.is_usual() {
            diagnostics[0].severity = Severity::Warning;
        }
        diagnostics.extend(self.resources(state));
        self.report(diagnostics)
    }

    /// There is one; what is wrong with resources is left.
    pub(super) fn connected(&mut self, state: &XdsState) -> Option<Event> {
        let diagnostics = self.resources(state);
        self.report(diagnostics)
    }

    fn report(&mut self, diagnostics: Vec<Diagnostic>) -> Option<Event> {
        if diagnostics == self.reported {
            return None;
        }
        self.reported.clone_from(&diagnostics);
        Some(Event::Report(Report {
            origin: self.address.clone(),
            diagnostics,
        }))
    }

    fn resources(&self, state: &XdsState) -> Vec<Diagnostic> {
        let listed = state.errors().take(MOST);
        let mut diagnostics: Vec<Diagnostic> = listed
            .map(|(resource, error)| Diagnostic {
                entry: Some(format!("resource {resource}")),
                ..self.diagnostic(error.to_owned())
            })
            .collect();
        let all = state.errors().count();
        if all > MOST {
            diagnostics.push(self.diagnostic(format!("and {} more", all - MOST)));
        }
        diagnostics
    }

    fn diagnostic(&self, message: String) -> Diagnostic {
        Diagnostic::file(&self.address, None, message)
    }
}

/// `None` acknowledges.
pub(super) fn error_detail(refused: &[Refused]) -> Option<ErrorDetail> {
    let listed = refused.iter().take(MOST);
    let mut messages: Vec<String> = listed
        .map(|refused| format!("{}: {}", refused.resource, refused.error))
        .collect();
    if refused.len() > MOST {
        messages.push(format!("and {} more", refused.len() - MOST));
    }
    (!messages.is_empty()).then(|| ErrorDetail {
        code: INVALID_ARGUMENT,
        message: messages.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(count: usize) -> Vec<Refused> {
        let one = |number| Refused {
            resource: format!("r{number}"),
            error: "odd".to_owned(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn nothing_refused_is_an_acknowledgement() {
        assert_eq!(error_detail(&[]), None);
        let detail = error_detail(&refused(2)).unwrap();
        assert_eq!(detail.code, INVALID_ARGUMENT);
        assert_eq!(detail.message, "r0: odd; r1: odd");
    }

    #[test]
    fn not_every_one_of_many_is_named() {
        let detail = error_detail(&refused(100_000)).unwrap();
        assert!(detail.message.len() < 4096, "{}", detail.message.len());
        assert!(detail.message.ends_with("; and 99800 more"));
    }
}
