//! The connections that the kernel remembers, of every map that has some.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use waysteer_common::abi::key::{FlowKey, TupleKey};
use waysteer_common::abi::value::VerdictValue;
use waysteer_common::verdict::{Class, Reason, Verdict};

use super::{Dump, Facts, Filter, Row, name_or_id};
use crate::address::{from_wire, socket_from_wire};
use crate::names::{Id, Namer as _, Names};
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Flow {
    /// Where it stands.
    map: &'static str,
    /// Cookie of the pod's netns; nobody's for a connection that is let in.
    netns: Option<u64>,
    pod: Option<String>,
    source: SocketAddr,
    destination: SocketAddr,
    class: Option<&'static str>,
    reason: Option<&'static str>,
    /// Into the tunnel; past it without.
    steered: bool,
    next_hop: Option<SocketAddr>,
    workload: Option<Id>,
    workload_name: Option<String>,
    service: Option<Id>,
    service_name: Option<String>,
}

pub fn flows(
    connections: &BTreeMap<FlowKey, VerdictValue>,
    packets: &BTreeMap<FlowKey, u8>,
    let_in: &BTreeMap<TupleKey, &'static str>,
    names: &Names,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let judged = connections.iter().map(|(key, value)| {
        let mut flow = Flow::of("CONNECTIONS", key, names);
        flow.judged(Verdict::from_wire(value), names);
        flow
    });
    // Those that have a verdict too stand above.
    let raw = packets.keys().filter(|key| !connections.contains_key(key));
    let raw = raw.map(|key| Flow::of("PACKET_FLOWS", key, names));
    let let_in = let_in.iter().map(|(key, map)| Flow {
        netns: None,
        pod: None,
        steered: false,
        ..Flow::of(map, &key.in_netns(0), names)
    });
    Dump::of(judged.chain(raw).chain(let_in).collect(), filter, width)
}

impl Flow {
    fn of(map: &'static str, key: &FlowKey, names: &Names) -> Self {
        let netns = key.netns.get();
        let (from, to) = (key.source_port.get(), key.destination_port.get());
        Self {
            map,
            netns: Some(netns),
            pod: names.pod(netns),
            source: SocketAddr::new(from_wire(key.source), from),
            destination: SocketAddr::new(from_wire(key.destination), to),
            class: None,
            reason: None,
            steered: true,
            next_hop: None,
            workload: None,
            workload_name: None,
            service: None,
            service_name: None,
        }
    }

    fn judged(&mut self, verdict: Option<Verdict>, names: &Names) {
        let Some(verdict) = verdict else { return };
        let id = |id: u64| (id != 0).then_some(Id(id));
        let hop = verdict.next_hop;
        self.class = Some(Class::label(verdict.class));
        self.reason = Some(Reason::label(verdict.reason));
        self.steered = verdict.steer;
        self.next_hop = socket_from_wire(hop.address, hop.port);
        self.workload = id(hop.workload);
        self.workload_name = names.workload(hop.workload);
        self.service = id(verdict.service);
        self.service_name = names.service(verdict.service);
    }
}

impl Row for Flow {
    const HEADERS: &'static [&'static str] = &[
        "POD",
        "SOURCE",
        "DESTINATION",
        "CLASS",
        "REASON",
        "WAY",
        "NEXT HOP",
        "SERVICE",
    ];
    const NONE: &'static str = "no such connection is in the maps";

    fn cells(&self) -> Vec<Cell> {
        let pod = match (&self.pod, self.netns) {
            (Some(pod), _) => pod.clone(),
            (None, Some(netns)) => format!("netns {netns}"),
            (None, None) => String::new(),
        };
        let hop = self
            .next_hop
            .map_or_else(String::new, |hop| hop.to_string());
        let id = |name: &Option<String>, id: Option<Id>| {
            name_or_id(name.as_deref(), id.unwrap_or(Id(0)))
        };
        let hop = format!("{hop} {}", id(&self.workload_name, self.workload));
        vec![
            pod.into(),
            self.source.to_string().into(),
            self.destination.to_string().into(),
            self.class.unwrap_or_default().into(),
            self.reason.unwrap_or_default().into(),
            if self.steered { "tunnel" } else { "past it" }.into(),
            hop.trim().into(),
            id(&self.service_name, self.service).into(),
        ]
    }

    fn facts(&self) -> Facts {
        let names = [&self.workload_name, &self.service_name];
        let pods: Vec<String> = self.pod.clone().into_iter().collect();
        let space = self.pod.as_deref().and_then(|pod| pod.split_once('/'));
        let hop = self.next_hop.map(|hop| hop.ip());
        let ends = [self.source.ip(), self.destination.ip()];
        Facts {
            namespaces: space.map(|(ns, _)| ns.to_owned()).into_iter().collect(),
            names: names
                .into_iter()
                .flatten()
                .cloned()
                .chain(pods.clone())
                .collect(),
            pods,
            addresses: ends.into_iter().chain(hop).map(Into::into).collect(),
        }
    }
}
