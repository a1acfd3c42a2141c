//! `/debug/model`: the mesh and the enrolled pods as the agent holds them, page by page.
//!
//! A mesh may have a million workloads, and changes wait while it is read: a page has a bounded
//! number of entries, and no more than [`LOOKED_AT`] are looked at for it.

mod render;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;

use axum::extract::{Query, State as AxumState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use crate::compile::Compiler;
use crate::model::{NamespacedName, Uid};

/// Entries of a page, where nothing else is asked for, and at most.
const LIMIT: usize = 100;
const MOST: usize = 1_000;
/// A page with a filter may have fewer entries than asked for, none too, and go on all the same.
const LOOKED_AT: usize = 50_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Workloads,
    Services,
    Waypoints,
    Policies,
    Pods,
}

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Without one: how many there are of each.
    kind: Option<Kind>,
    namespace: Option<String>,
    /// The name, a service's host name too.
    name: Option<String>,
    /// The key that the page before has ended with, its `next`.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Page {
    /// Of this kind, whatever was asked for.
    total: usize,
    items: Vec<Value>,
    /// To be asked for as `after`; nothing where this was the last page.
    next: Option<String>,
}

/// One entry, as far as filters go.
struct Entry {
    key: String,
    namespace: String,
    names: Vec<String>,
}

pub(super) async fn model(AxumState(sources): Shared, Query(asked): Query<Asked>) -> Response {
    match sources.view.with(|compiler| answer(compiler, &asked)) {
        Ok(page) => Json(page).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// In error: what is wrong with the question.
fn answer(compiler: &Compiler, asked: &Asked) -> Result<Value, String> {
    let mesh = compiler.mesh();
    let page = match asked.kind {
        None => return Ok(totals(compiler)),
        Some(Kind::Workloads) => {
            let after = asked.after.as_deref().map(|after| Uid(after.into()));
            let entries = from(&mesh.workloads, after);
            let entries = entries.map(|(uid, workload)| {
                let name = workload.name.to_string();
                (entry(uid, &workload.namespace, vec![name]), workload)
            });
            page(asked, mesh.workloads.len(), entries, |w| {
                render::workload(w)
            })
        }
        Some(Kind::Services) => {
            let entries = from(&mesh.services, named(asked)?);
            let entries = entries.map(|(key, service)| {
                let names = vec![service.name.to_string(), key.name.to_string()];
                (entry(key, &key.namespace, names), service)
            });
            page(asked, mesh.services.len(), entries, render::service)
        }
        Some(Kind::Policies) => {
            let entries = from(&mesh.policies, named(asked)?);
            let entries = entries.map(|(key, policy)| {
                let names = vec![key.name.to_string()];
                (entry(key, &key.namespace, names), policy)
            });
            page(asked, mesh.policies.len(), entries, render::policy)
        }
        Some(Kind::Waypoints) => {
            unfiltered(asked)?;
            let waypoints = compiler.waypoints(number(asked)?);
            let entries = waypoints.map(|found| (entry(found.id, "", Vec::new()), found));
            let total = compiler.count_waypoints();
            page(asked, total, entries, |found| render::waypoint(&found))
        }
        Some(Kind::Pods) => {
            let pods = compiler.pods(number(asked)?);
            let entries = pods.map(|found| {
                let (pod, _) = found;
                let names = vec![pod.name.clone()];
                (entry(pod.netns, &pod.namespace, names), found)
            });
            let total = compiler.count_pods();
            page(asked, total, entries, |(pod, workload)| {
                render::pod(pod, workload)
            })
        }
    };
    Ok(json!(page))
}

fn totals(compiler: &Compiler) -> Value {
    let mesh = compiler.mesh();
    json!({
        "complete": mesh.complete,
        "rejected": mesh.rejected.len(),
        "workloads": mesh.workloads.len(),
        "services": mesh.services.len(),
        "waypoints": compiler.count_waypoints(),
        "policies": mesh.policies.len(),
        "pods": compiler.count_pods(),
        "ask": "kind=workloads|services|waypoints|policies|pods, and namespace, name, limit, after",
    })
}

fn from<K: Ord, V>(tree: &BTreeMap<K, V>, after: Option<K>) -> impl Iterator<Item = (&K, &V)> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    tree.range((start, Bound::Unbounded))
}

fn entry(key: impl ToString, namespace: &str, names: Vec<String>) -> Entry {
    Entry {
        key: key.to_string(),
        namespace: namespace.to_owned(),
        names,
    }
}

/// Of `after`: `NAMESPACE/NAME`.
fn named(asked: &Asked) -> Result<Option<NamespacedName>, String> {
    let parse = |after: &String| {
        let parts = after.split_once('/');
        let parts = parts.ok_or_else(|| format!("after={after} is not NAMESPACE/NAME"))?;
        Ok(NamespacedName::new(parts.0, parts.1))
    };
    asked.after.as_ref().map(parse).transpose()
}

/// Of `after`: an id.
fn number(asked: &Asked) -> Result<Option<u64>, String> {
    let parse = |after: &String| {
        let number = after.parse();
        number.map_err(|_| format!("after={after} is not a number"))
    };
    asked.after.as_ref().map(parse).transpose()
}

fn unfiltered(asked: &Asked) -> Result<(), String> {
    match (&asked.namespace, &asked.name) {
        (None, None) => Ok(()),
        _ => Err("waypoints have no names of their own: ask without namespace and name".to_owned()),
    }
}

fn page<V>(
    asked: &Asked,
    total: usize,
    entries: impl Iterator<Item = (Entry, V)>,
    render: impl Fn(V) -> Value,
) -> Page {
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, MOST);
    let mut page = Page {
        total,
        items: Vec::new(),
        next: None,
    };
    let mut last = None;
    for (looked_at, (entry, value)) in entries.enumerate() {
        if page.items.len() == limit || looked_at == LOOKED_AT {
            page.next = last;
            break;
        }
        if asked.takes(&entry) {
            page.items.push(render(value));
        }
        last = Some(entry.key);
    }
    page
}

impl Asked {
    fn takes(&self, entry: &Entry) -> bool {
        let Entry {
            key: _,
            namespace,
            names,
        } = entry;
        self.namespace
            .as_ref()
            .is_none_or(|asked| asked == namespace)
            && self.name.as_ref().is_none_or(|asked| names.contains(asked))
    }
}
