mod accepted;
mod conflicts;
mod errors;
mod last_good;
mod limits;
mod pods;
mod random;
mod watching;

use super::*;
use crate::model::{Delta, Mesh, NamespacedName, Uid, Workload};
use crate::source::{Diagnostic, Severity};

/// Parses a file that as a whole is well-formed.
fn parse(text: &str) -> ParsedMesh {
    parse_mesh(text, "mesh.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Everything that was found, as it is printed.
fn messages(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// Errors only.
fn errors(parsed: &ParsedMesh) -> Vec<String> {
    let errors = parsed.diagnostics.iter();
    let errors = errors.filter(|found| found.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn uid(uid: &str) -> Uid {
    Uid(uid.into())
}

fn name(name: &str) -> NamespacedName {
    scalar::parse_name(name).unwrap()
}

fn apply(mesh: &mut Mesh, state: &mut FileState, text: &str) -> Delta {
    let delta = state.next(parse(text));
    mesh.apply(delta.clone());
    delta
}
