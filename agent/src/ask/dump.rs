//! `waysteer dump`: reads the pinned maps, and asks the agent only what the numbers in them mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::cli::{DumpArgs, DumpKind};
use crate::client::{self, ClientError};
use crate::kernel::contents::Contents;
use crate::kernel::records::Records;
use crate::names::Names;
use crate::show::dump::{self, Dump, Filter, Sets};

/// # Errors
/// Where nothing is pinned, or it cannot be read, or a filter does not fit the kind.
pub async fn dump(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let filter = Filter {
        namespace: args.namespace.clone(),
        pod: args.pod.clone(),
        name: args.name.clone(),
        address: args.address,
    };
    if args.kind == DumpKind::Traffic && args.address.is_some() {
        bail!("traffic is counted by destination and not by address: ask by --name");
    }
    if args.kind == DumpKind::Counters
        && (args.namespace.is_some()
            || args.pod.is_some()
            || args.name.is_some()
            || args.address.is_some())
    {
        bail!("counters are the whole node's: they cannot be filtered");
    }
    let agent = match client::get(&args.client.socket, "/debug/names").await {
        Ok(answer) => Some(serde_json::from_str::<Names>(&answer)?),
        Err(error @ ClientError::Connect { .. }) => {
            eprintln!("waysteer: {error}; ids are shown where names are not known");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let is_known = agent.is_some();
    let mut names = agent.unwrap_or_default();
    let contents = block_in_place(|| {
        names.pods = pods(&args.pin_root);
        Contents::open(&args.pin_root)
    })?;
    let dumped = block_in_place(|| read(args.kind, &contents, &names, &filter))?;
    if !is_known && args.name.is_some() && dumped.rows.as_array().is_some_and(Vec::is_empty) {
        bail!(
            "nothing has this name or id, and names are not known without an agent: ask by \
             --address, or by the id"
        );
    }
    let text = dumped.text.clone();
    let document: Value = dumped.document(args.kind.label(), contents.path(), is_known);
    super::output(args.output.output, &text, &document)?;
    Ok(ExitCode::SUCCESS)
}

/// Who was enrolled, by netns cookie: what cannot be read has no name.
fn pods(root: &Path) -> BTreeMap<u64, String> {
    let records = Records::look(root).ok().flatten();
    let records = records.and_then(|records| records.all().ok());
    let named = records.into_iter().flatten().filter_map(|(netns, record)| {
        let record = record.ok()?;
        Some((netns, format!("{}/{}", record.namespace, record.name)))
    });
    named.collect()
}

fn read(
    kind: DumpKind,
    contents: &Contents,
    names: &Names,
    filter: &Filter,
) -> anyhow::Result<Dump> {
    let width = super::width();
    Ok(match kind {
        DumpKind::Workloads => dump::workloads(&contents.workloads()?, names, filter, width),
        DumpKind::Services => {
            // First what refers: what it refers to is there for as long.
            let (services, cidrs) = (contents.services()?, contents.service_cidrs()?);
            let ports = contents.service_ports()?;
            let endpoints = &contents.endpoints()?;
            let sets = Sets { endpoints, names };
            dump::services(&services, &cidrs, &ports, &sets, filter, width)
        }
        DumpKind::Waypoints => {
            let waypoints = contents.waypoints()?;
            let endpoints = &contents.endpoints()?;
            let members = contents.waypoint_members()?;
            let sets = Sets { endpoints, names };
            dump::waypoints(&waypoints, &members, &sets, filter, width)
        }
        DumpKind::Policies => {
            let (policies, workloads) = (contents.policies()?, contents.workloads()?);
            dump::policies(&policies, &workloads, names, filter, width)
        }
        DumpKind::Pods => {
            let (pods, addresses) = (contents.pods()?, contents.pod_addresses()?);
            dump::pods(&pods, &addresses, names, filter, width)
        }
        DumpKind::Flows => {
            let (connections, packets) = (contents.connections()?, contents.packet_flows()?);
            let let_in = contents.let_in()?;
            dump::flows(&connections, &packets, &let_in, names, filter, width)
        }
        DumpKind::Traffic => dump::traffic(&contents.pod_traffic()?, names, filter, width),
        DumpKind::Counters => {
            let counters = contents.counters()?;
            let (verdicts, packets) = (counters.verdicts()?, counters.packets()?);
            let (traffic, other) = (counters.traffic()?, counters.other_traffic()?);
            dump::counters(&verdicts, &packets, &traffic, &other, width)
        }
    })
}
