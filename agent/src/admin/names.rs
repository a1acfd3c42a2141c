//! Names for the numbers in maps, and numbers for names.

use std::net::IpAddr;

use axum::extract::State as AxumState;
use axum::response::Json;

use super::Shared;
use crate::address::from_wire;
use crate::compile::{namespace_id, service_id, workload_id};
use crate::names::{Id, Namer, Names};
use crate::tunnel::View;

/// What the agent knows of names.
#[derive(Debug)]
pub(super) struct Known<'a>(pub(super) &'a View);

/// Every name.
pub(super) async fn names(AxumState(sources): Shared) -> Json<Names> {
    let known = Known(&sources.view);
    let by_id = |names: Vec<(u64, String)>| names.into_iter().map(|(id, name)| (Id(id), name));
    let (workloads, services) = (known.workloads(), known.services());
    let namespaces = known.namespaces().into_iter();
    Json(Names {
        workloads: by_id(workloads).collect(),
        services: by_id(services).collect(),
        namespaces: namespaces
            .map(|namespace| (Id(namespace_id(&namespace)), namespace))
            .collect(),
        ..Names::default()
    })
}

impl Known<'_> {
    /// Ids and `namespace/name`.
    pub(super) fn workloads(&self) -> Vec<(u64, String)> {
        self.0.with(|compiler| {
            let workloads = compiler.mesh().workloads.values();
            let named =
                workloads.map(|w| (workload_id(&w.uid), format!("{}/{}", w.namespace, w.name)));
            named.collect()
        })
    }

    /// Ids and `namespace/hostname`.
    pub(super) fn services(&self) -> Vec<(u64, String)> {
        self.0.with(|compiler| {
            let names = compiler.mesh().services.keys();
            names.map(|n| (service_id(n), n.to_string())).collect()
        })
    }

    pub(super) fn addresses_of_workload(&self, id: u64) -> Vec<IpAddr> {
        self.0.with(|compiler| {
            let entries = compiler.tables().workloads.iter();
            let own = entries.filter(|(_, value)| value.id.get() == id);
            own.map(|(key, _)| from_wire(key.address)).collect()
        })
    }

    /// Single addresses, without blocks.
    pub(super) fn addresses_of_service(&self, id: u64) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = self.0.with(|compiler| {
            let entries = compiler.tables().services.iter();
            let own = entries.filter(|(_, value)| value.id.get() == id);
            own.map(|(key, _)| from_wire(key.address)).collect()
        });
        found.sort();
        found.dedup();
        found
    }

    /// The services that some clients get at an address.
    pub(super) fn services_at(&self, address: IpAddr) -> Vec<u64> {
        self.0.with(|compiler| {
            let entries = compiler.tables().services.iter();
            let at = entries.filter(|(key, _)| from_wire(key.address) == address);
            at.map(|(_, value)| value.id.get()).collect()
        })
    }

    pub(super) fn ports_of(&self, service: u64) -> Vec<u16> {
        let mut ports: Vec<u16> = self.0.with(|compiler| {
            let ports = compiler.tables().service_ports.keys();
            let own = ports.filter(|key| key.service.get() == service);
            own.map(|key| key.port.get()).collect()
        });
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn namespaces(&self) -> Vec<String> {
        let all = self.workloads().into_iter().chain(self.services());
        let mut found: Vec<String> = all
            .filter_map(|(_, name)| Some(name.split_once('/')?.0.to_owned()))
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

impl Namer for Known<'_> {
    fn workload(&self, id: u64) -> Option<String> {
        let entry = self.0.with(|compiler| compiler.workload(id));
        entry.map(|entry| entry.name)
    }

    fn service(&self, id: u64) -> Option<String> {
        let entry = self.0.with(|compiler| compiler.service(id));
        entry.map(|entry| entry.name)
    }

    fn namespace(&self, id: u64) -> Option<String> {
        let mut all = self.namespaces().into_iter();
        all.find(|namespace| namespace_id(namespace) == id)
    }
}
