//! The mesh file: the format ztunnel reads with `LOCAL_XDS_PATH`.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use super::entry::{Entry, Key, Read, read};
use super::owners::{Owners, Taken};
use super::problems::Problems;
use super::references;
use super::rejected::{Rejected, reject};
use super::service::FileService;
use super::yaml::{Reader, Start, SyntaxError};
use crate::model::{NamespacedName, Policy, Service, Workload};
use crate::source::Diagnostic;

/// More entries than the kernel's maps could ever take.
const MAX_ENTRIES: usize = 2_000_000;

/// A mesh file that could be read, with or without its bad entries.
#[derive(Debug)]
pub struct ParsedMesh {
    pub workloads: Vec<Workload>,
    pub services: Vec<Service>,
    pub policies: Vec<Policy>,
    pub rejected: Vec<Rejected>,
    /// All errors and warnings, entry by entry.
    pub diagnostics: Vec<Diagnostic>,
}

/// Everything in the file, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) workloads: Vec<Entry<Workload>>,
    pub(super) services: Vec<Entry<FileService>>,
    pub(super) policies: Vec<Entry<Policy>>,
}

/// Reads a mesh file.
///
/// # Errors
/// When the file as a whole cannot be understood; a bad entry is in `rejected` instead.
pub fn parse_mesh(text: &str, file: &str) -> Result<ParsedMesh, Diagnostic> {
    let mut entries = read_entries(text, file)
        .map_err(|error| Diagnostic::file(file, Some(error.line), error.message))?;
    reject_duplicates(&mut entries.workloads);
    reject_duplicates(&mut entries.services);
    reject_duplicates(&mut entries.policies);
    let owners = claim_addresses(&mut entries);
    references::connect(&mut entries, &owners);
    Ok(collect(entries))
}

fn read_entries(text: &str, file: &str) -> Result<Entries, SyntaxError> {
    let file: &Rc<str> = &file.into();
    let mut entries = Entries::default();
    let mut reader = Reader::new(text);
    if reader.open()? != Start::Map {
        let message = "expected a map with workloads, services and policies";
        return Err(SyntaxError::new(reader.line(), message));
    }
    let mut seen = BTreeMap::new();
    while let Some(section) = reader.key()? {
        if let Some(first) = seen.insert(section.clone(), reader.line()) {
            let message = format!("duplicate key {section:?}, first at line {first}");
            return Err(SyntaxError::new(reader.line(), message));
        }
        match section.as_ref() {
            "workloads" => read_list(&mut reader, file, &section, &mut entries.workloads)?,
            "services" => read_list(&mut reader, file, &section, &mut entries.services)?,
            "policies" => read_list(&mut reader, file, &section, &mut entries.policies)?,
            _ => {
                let message = format!(
                    "unknown key {section:?}, expected one of workloads, services, policies"
                );
                return Err(SyntaxError::new(reader.line(), message));
            }
        }
    }
    reader.close()?;
    Ok(entries)
}

/// Reads a list of entries, one at a time.
pub(super) fn read_list<T: Read>(
    reader: &mut Reader<'_>,
    file: &Rc<str>,
    section: &str,
    entries: &mut Vec<Entry<T>>,
) -> Result<(), SyntaxError> {
    match reader.section()? {
        Start::List => {}
        Start::Null => return Ok(()),
        Start::Map | Start::Other => {
            let message = format!("{section} is not a list");
            return Err(SyntaxError::new(reader.line(), message));
        }
    }
    read_items(reader, file, section, entries)
}

/// Reads the items of a list that has been opened.
pub(super) fn read_items<T: Read>(
    reader: &mut Reader<'_>,
    file: &Rc<str>,
    section: &str,
    entries: &mut Vec<Entry<T>>,
) -> Result<(), SyntaxError> {
    while let Some(node) = reader.item()? {
        if entries.len() >= MAX_ENTRIES {
            let message = format!("more than {MAX_ENTRIES} entries");
            return Err(SyntaxError::new(node.line, message));
        }
        entries.push(read(file, section, entries.len(), &node));
    }
    Ok(())
}

/// The first entry of a name stays, valid or not: it is what the last good version belongs to.
pub(super) fn reject_duplicates<T>(entries: &mut [Entry<T>]) {
    let mut first_lines: HashMap<Key, usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some(key) = &entry.key else {
            continue;
        };
        match first_lines.entry(key.clone()) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry.line);
            }
            hash_map::Entry::Occupied(first) => {
                let message = format!("{key} is used twice, first at line {}", first.get());
                entry.problems.error(entry.line, key.field(), message);
                entry.key = None;
            }
        }
    }
}

fn claim_addresses(entries: &mut Entries) -> Owners {
    let mut owners = Owners::default();
    for entry in entries
        .workloads
        .iter_mut()
        .filter(|entry| entry.is_valid())
    {
        let claimed = owners.claim_workload(entry.problems.entry(), &entry.value);
        if let Err(taken) = claimed {
            let field = format!("workloadIps[{}]", taken.index);
            report_taken(&mut entry.problems, entry.line, &field, &taken);
        }
    }
    for entry in entries.services.iter_mut().filter(|entry| entry.is_valid()) {
        match owners.claim_service(entry.problems.entry(), &entry.value.service) {
            Ok(shared) => {
                for shared in shared {
                    let Taken { address, owner, .. } = shared;
                    let message = format!(
                        "{address} is also of {owner}: a client gets the service of its own \
                         namespace, else the canonical one, else the first"
                    );
                    entry.problems.warning(entry.line, "vips", message);
                }
            }
            Err(taken) => report_taken(&mut entry.problems, entry.line, "vips", &taken),
        }
    }
    owners
}

fn report_taken(problems: &mut Problems, line: usize, field: &str, taken: &Taken) {
    let Taken { address, owner, .. } = taken;
    problems.error(line, field, format!("{address} belongs to {owner} already"));
}

fn collect(entries: Entries) -> ParsedMesh {
    let Entries {
        workloads,
        services,
        policies,
    } = entries;
    let mut parsed = ParsedMesh {
        workloads: Vec::new(),
        services: Vec::new(),
        policies: Vec::new(),
        rejected: Vec::new(),
        diagnostics: Vec::new(),
    };
    let vips = match workloads.iter().all(Entry::is_valid) {
        true => HashMap::new(),
        false => vips_by_name(&services),
    };
    for entry in workloads {
        if entry.is_valid() {
            parsed.workloads.push(entry.value);
        } else {
            let mut rejected = reject(&entry);
            let named = entry.value.services.keys();
            let vips = named.filter_map(|service| vips.get(service)).flatten();
            rejected.vips.extend(vips);
            parsed.rejected.push(rejected);
        }
        parsed.diagnostics.extend(entry.problems.into_diagnostics());
    }
    for entry in services {
        if entry.is_valid() {
            parsed.services.push(entry.value.service);
        } else {
            parsed.rejected.push(reject(&entry));
        }
        parsed.diagnostics.extend(entry.problems.into_diagnostics());
    }
    for entry in policies {
        if entry.is_valid() {
            parsed.policies.push(entry.value);
        } else {
            let rejected = reject(&entry);
            parsed
                .rejected
                .push(rejected.with_stand_in(entry.value, entry.line));
        }
        parsed.diagnostics.extend(entry.problems.into_diagnostics());
    }
    parsed
}

/// The addresses through which endpoints can be reached besides their own.
fn vips_by_name(services: &[Entry<FileService>]) -> HashMap<NamespacedName, Vec<IpAddr>> {
    let named = services.iter().map(|entry| {
        let name = entry.value.service.hostname.clone();
        (name, entry.value.addresses())
    });
    named.collect()
}
