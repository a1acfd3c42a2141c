//! `waysteer dump`: what is in the kernel's maps, entry by entry.

mod counters;
mod flows;
mod pods;
mod policies;
mod services;
mod traffic;
mod workloads;

use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::counters::counters;
pub use self::flows::flows;
pub use self::pods::pods;
pub use self::policies::policies;
pub use self::services::{Sets, services, waypoints};
pub use self::traffic::traffic;
pub use self::workloads::workloads;
use super::table::{Cell, fitted};
use crate::names::Id;

/// Which rows are wanted; all of them without any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub name: Option<String>,
    pub address: Option<std::net::IpAddr>,
}

/// What a filter asks a row about.
#[derive(Debug, Default)]
struct Facts {
    namespaces: Vec<String>,
    pods: Vec<String>,
    names: Vec<String>,
    addresses: Vec<IpNet>,
}

/// One entry, decoded.
trait Row: Serialize {
    const HEADERS: &'static [&'static str];
    /// Of the kind, for whoever sees none.
    const NONE: &'static str;

    fn cells(&self) -> Vec<Cell>;
    fn facts(&self) -> Facts;
}

/// A kind of entries: as text, and as what programs read.
#[derive(Debug)]
pub struct Dump {
    pub text: String,
    pub rows: Value,
}

impl Dump {
    fn of<R: Row>(rows: Vec<R>, filter: &Filter, width: Option<usize>) -> Self {
        let rows: Vec<R> = rows
            .into_iter()
            .filter(|row| filter.takes(&row.facts()))
            .collect();
        let text = if rows.is_empty() {
            format!("{}\n", R::NONE)
        } else {
            fitted(width, R::HEADERS, rows.iter().map(Row::cells).collect())
        };
        Self {
            text,
            rows: json!(rows),
        }
    }

    /// With where it was read, and whether names could be asked for.
    pub fn document(self, kind: &str, maps: &Path, agent: bool) -> Value {
        json!({ "maps": maps, "agent": agent, kind: self.rows })
    }
}

impl Filter {
    fn takes(&self, facts: &Facts) -> bool {
        let Self {
            namespace,
            pod,
            name,
            address,
        } = self;
        let any = |asked: &Option<String>, known: &[String], is: fn(&str, &str) -> bool| {
            asked
                .as_ref()
                .is_none_or(|asked| known.iter().any(|known| is(known, asked)))
        };
        any(namespace, &facts.namespaces, |known, asked| known == asked)
            && any(pod, &facts.pods, is_called)
            && any(name, &facts.names, is_called)
            && address.is_none_or(|asked| facts.addresses.iter().any(|net| net.contains(&asked)))
    }
}

/// `NAMESPACE/NAME`, `NAME`, or as many labels of a host's name as one likes; also an id.
fn is_called(known: &str, asked: &str) -> bool {
    let short = known.split_once('/').map_or(known, |(_, name)| name);
    let begins = |of: &str| {
        of.strip_prefix(asked)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    begins(known) || begins(short)
}

/// A name, else the id; nothing where the id is 0.
fn name_or_id(name: Option<&str>, id: Id) -> String {
    match name {
        Some(name) => name.to_owned(),
        None if id == Id(0) => String::new(),
        None => id.to_string(),
    }
}

/// What a filter may call it, and in which namespaces that is.
fn called(name: Option<&str>, id: Id) -> (Vec<String>, Vec<String>) {
    let namespace = name.and_then(|name| name.split_once('/'));
    let names = name.map(str::to_owned).into_iter().chain([id.to_string()]);
    (
        names.collect(),
        namespace.map(|(ns, _)| ns.to_owned()).into_iter().collect(),
    )
}

#[cfg(test)]
mod tests;
