//! The pods file: local pods to capture.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::entry::{Draft, Entry, Read, peek};
use super::fields::Field;
use super::mesh::read_items;
use super::problems::{Problems, quoted};
use super::yaml::{Node, Reader, Start, SyntaxError};
use crate::model::PodSpec;
use crate::source::Diagnostic;

/// A pods file that could be read, with or without its bad entries.
#[derive(Debug)]
pub struct ParsedPods {
    pub pods: Vec<PodSpec>,
    /// The uids of entries that were not accepted: their last good versions stay.
    pub rejected: Vec<String>,
    pub diagnostics: Vec<Diagnostic>,
    /// Where each uid stands.
    pub lines: BTreeMap<String, usize>,
}

/// Reads a pods file: a list of `{uid, name, namespace, serviceAccount, netns}`.
///
/// # Errors
/// When the file as a whole cannot be understood; bad entries are in `rejected` instead.
pub fn parse_pods(text: &str, file: &str) -> Result<ParsedPods, Diagnostic> {
    let mut entries = read_pods(text, file)
        .map_err(|error| Diagnostic::file(file, Some(error.line), error.message))?;
    let mut netns = BTreeMap::new();
    let mut parsed = ParsedPods {
        pods: Vec::new(),
        rejected: Vec::new(),
        diagnostics: Vec::new(),
        lines: BTreeMap::new(),
    };
    for entry in &mut entries {
        let PodSpec {
            uid, netns: path, ..
        } = &entry.value;
        let mut is_duplicate = false;
        if !uid.is_empty() {
            if let Some(first) = parsed.lines.get(uid) {
                let message = format!("{uid} is used twice, first at line {first}");
                entry.problems.error(entry.line, "uid", message);
                is_duplicate = true;
            } else {
                parsed.lines.insert(uid.clone(), entry.line);
            }
        }
        if entry.is_valid() {
            if let Some(first) = netns.get(path) {
                let message = format!("{} is another pod's, at line {first}", path.display());
                entry.problems.error(entry.line, "netns", message);
            } else {
                netns.insert(path.clone(), entry.line);
            }
        }
        if entry.is_valid() {
            parsed.pods.push(entry.value.clone());
        } else if !is_duplicate {
            parsed.rejected.push(uid.clone());
        }
    }
    for entry in entries {
        parsed.diagnostics.extend(entry.problems.into_diagnostics());
    }
    Ok(parsed)
}

fn read_pods(text: &str, file: &str) -> Result<Vec<Entry<PodSpec>>, SyntaxError> {
    let mut reader = Reader::new(text);
    let mut entries = Vec::new();
    if reader.open()? != Start::List {
        return Err(SyntaxError::new(reader.line(), "expected a list of pods"));
    }
    read_items(&mut reader, &file.into(), "pods", &mut entries)?;
    reader.close()?;
    Ok(entries)
}

pub(super) fn label(namespace: &str, name: &str, uid: &str) -> String {
    format!("pod {namespace}/{name} ({uid})")
}

impl Read for PodSpec {
    fn label(node: &Node<'_>) -> Option<String> {
        match (
            peek(node, "namespace"),
            peek(node, "name"),
            peek(node, "uid"),
        ) {
            (Some(namespace), Some(name), Some(uid)) => Some(label(namespace, name, uid)),
            (Some(namespace), Some(name), None) => Some(format!("pod {namespace}/{name}")),
            (_, _, Some(uid)) => Some(format!("pod {uid}")),
            (_, _, None) => None,
        }
    }

    fn read(root: &Field<'_, '_>, problems: &mut Problems) -> Draft<Self> {
        let mut pod = Self {
            uid: String::new(),
            name: String::new(),
            namespace: String::new(),
            service_account: String::new(),
            netns: PathBuf::new(),
        };
        if let Some(mut fields) = root.fields(problems) {
            pod.uid = fields.required_text("uid", problems).to_string();
            pod.name = fields.required_text("name", problems).to_string();
            pod.namespace = fields.required_text("namespace", problems).to_string();
            pod.service_account = fields.text("serviceAccount", problems).to_string();
            if pod.service_account.is_empty() {
                "default".clone_into(&mut pod.service_account);
            }
            if let Some(netns) = fields.required("netns", problems)
                && let Some(text) = netns.text(problems)
            {
                if Path::new(text).is_absolute() {
                    pod.netns = PathBuf::from(text);
                } else {
                    let message = format!("{} is not an absolute path", quoted(text));
                    netns.error(problems, message);
                }
            }
            fields.finish(problems);
        }
        Draft {
            key: None,
            value: pod,
            lacks_addresses: false,
        }
    }

    /// Addresses are the mesh file's matter.
    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}
