//! Names that entries use for each other.
//!
//! A name that nothing has is reported and the entry accepted: its target may come later, and an
//! unresolved waypoint must steer, which only an accepted entry can say.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::entry::{Entry, Key, Read};
use super::mesh::Entries;
use super::owners::Owners;
use super::problems::Problems;
use super::service::Endpoint;
use crate::model::{
    GatewayAddress, GatewayDestination, NamespacedName, NetworkAddress, Service, Workload,
};

/// What can be referred to. Entries that were not accepted count: they have been reported.
struct Known<'o> {
    services: HashSet<NamespacedName>,
    policies: HashSet<NamespacedName>,
    /// Names of workloads by which a gateway may be found.
    hostnames: HashSet<NamespacedName>,
    /// Addresses of entries that were not accepted.
    rejected: HashSet<IpAddr>,
    owners: &'o Owners,
}

/// Moves endpoints to their workloads and reports what refers to nothing.
pub(super) fn connect(entries: &mut Entries, owners: &Owners) {
    move_endpoints(entries);
    let known = Known::new(entries, owners);
    for entry in &mut entries.workloads {
        known.check_workload(entry.line, &entry.value, &mut entry.problems);
    }
    for entry in &mut entries.services {
        known.check_service(entry.line, &entry.value.service, &mut entry.problems);
    }
}

/// `services[].endpoints` says the same as `workloads[].services`, which wins.
fn move_endpoints(entries: &mut Entries) {
    if entries
        .services
        .iter()
        .all(|entry| entry.value.endpoints.is_empty())
    {
        return;
    }
    let mut by_uid = HashMap::new();
    for (index, entry) in entries.workloads.iter().enumerate() {
        if let Some(Key::Workload(uid)) = &entry.key {
            by_uid.insert(uid.clone(), index);
        }
    }
    for entry in &mut entries.services {
        let service = &entry.value.service.hostname;
        for endpoint in entry.value.endpoints.drain(..) {
            let Endpoint {
                line,
                path,
                workload,
                ports,
            } = endpoint;
            let target = by_uid.get(&workload);
            match target.and_then(|index| entries.workloads.get_mut(*index)) {
                Some(workload) => {
                    let services = &mut workload.value.services;
                    if !services.contains_key(service) {
                        services.insert(service.clone(), ports.into_iter().collect());
                    }
                }
                None => {
                    let message = format!("there is no workload {workload}");
                    entry.problems.warning(line, &path, message);
                }
            }
        }
    }
}

impl<'o> Known<'o> {
    fn new(entries: &Entries, owners: &'o Owners) -> Self {
        let mut rejected = HashSet::new();
        for entry in entries.workloads.iter().filter(|entry| !entry.is_valid()) {
            rejected.extend(entry.value.addresses());
        }
        for entry in entries.services.iter().filter(|entry| !entry.is_valid()) {
            rejected.extend(entry.value.addresses());
        }
        let hostname = |entry: &Entry<Workload>| {
            let Workload {
                namespace,
                hostname,
                ..
            } = &entry.value;
            NamespacedName::new(namespace.clone(), hostname.clone())
        };
        let workloads = entries.workloads.iter();
        let with_hostname = workloads.filter(|entry| !entry.value.hostname.is_empty());
        Self {
            services: names(&entries.services, |entry| &entry.service.hostname),
            policies: names(&entries.policies, |policy| &policy.name),
            hostnames: with_hostname.map(hostname).collect(),
            rejected,
            owners,
        }
    }

    fn check_workload(&self, line: usize, workload: &Workload, problems: &mut Problems) {
        for (field, gateway) in [
            ("waypoint", &workload.waypoint),
            ("networkGateway", &workload.network_gateway),
        ] {
            if let Some(gateway) = gateway {
                self.check_gateway(line, field, gateway, problems);
            }
        }
        for service in workload.services.keys() {
            if !self.services.contains(service) {
                let field = format!("services.{service}");
                problems.warning(line, &field, format!("there is no service {service}"));
            }
        }
        for policy in &workload.authorization_policies {
            if !self.policies.contains(policy) {
                let message = format!("there is no policy {policy}");
                problems.warning(line, "authorizationPolicies", message);
            }
        }
    }

    fn check_service(&self, line: usize, service: &Service, problems: &mut Problems) {
        if let Some(waypoint) = &service.waypoint {
            self.check_gateway(line, "waypoint", waypoint, problems);
        }
        for (index, waypoint) in service.weighted_waypoints.iter().enumerate() {
            let field = format!("weightedWaypoints[{index}]");
            self.check_gateway(line, &field, &waypoint.destination, problems);
        }
    }

    fn check_gateway(
        &self,
        line: usize,
        field: &str,
        gateway: &GatewayAddress,
        problems: &mut Problems,
    ) {
        let (exists, name) = match &gateway.destination {
            GatewayDestination::Hostname(name) => {
                let exists = self.services.contains(name) || self.hostnames.contains(name);
                (exists, name.to_string())
            }
            GatewayDestination::Address(address) => {
                (self.has_address(address), address.to_string())
            }
        };
        if !exists {
            let message = format!(
                "nothing is called {name}; connections that need it are held until there is"
            );
            problems.warning(line, field, message);
        }
    }

    fn has_address(&self, address: &NetworkAddress) -> bool {
        self.owners.has(address) || self.rejected.contains(&address.address)
    }
}

fn names<T>(entries: &[Entry<T>], name: impl Fn(&T) -> &NamespacedName) -> HashSet<NamespacedName> {
    entries
        .iter()
        .map(|entry| name(&entry.value).clone())
        .collect()
}
