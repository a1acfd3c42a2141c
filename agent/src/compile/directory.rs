//! What ids stand for: for the tunnel, which needs identities, and for people.

use crate::model::{Mesh, Service, Workload};

/// What stands behind a number of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A workload's `namespace/name`, a service's `namespace/hostname`.
    pub name: String,
    /// SPIFFE identities that whoever answers for it may present.
    pub identities: Vec<String>,
}

/// A workload may answer with its own identity, or with one that its services are said to have.
pub(super) fn of_workload(workload: &Workload, mesh: &Mesh) -> Entry {
    let own = identity(workload);
    let of_services = workload
        .services
        .keys()
        .filter_map(|name| mesh.services.get(name))
        .flat_map(|service| &service.subject_alt_names)
        .map(ToString::to_string);
    Entry {
        name: format!("{}/{}", workload.namespace, workload.name),
        identities: std::iter::once(own).chain(of_services).collect(),
    }
}

pub(super) fn of_service(service: &Service) -> Entry {
    let names = service.subject_alt_names.iter();
    Entry {
        name: service.hostname.to_string(),
        identities: names.map(ToString::to_string).collect(),
    }
}

/// The SPIFFE identity of a workload.
fn identity(workload: &Workload) -> String {
    let Workload {
        trust_domain,
        namespace,
        service_account,
        ..
    } = workload;
    format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
}
