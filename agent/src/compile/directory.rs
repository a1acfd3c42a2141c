//! What ids stand for: for the tunnel, which needs identities, and for people.

use crate::model::{Mesh, Service, Text, Workload};

/// What stands behind a number of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A workload's `namespace/name`, a service's `namespace/hostname`.
    pub name: String,
    /// SPIFFE identities that whoever answers for it may present.
    pub identities: Vec<String>,
}

/// What metrics say of a workload: its pods are not told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadNames {
    /// Of the deployment or whatever made it; its own where it was made by nothing.
    pub workload: Text,
    pub namespace: Text,
    /// The SPIFFE identity.
    pub principal: Text,
}

/// What metrics say of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceNames {
    pub host: Text,
    pub name: Text,
    pub namespace: Text,
}

pub(super) fn workload_names(workload: &Workload) -> WorkloadNames {
    let maker = &workload.workload_name;
    WorkloadNames {
        workload: if maker.is_empty() {
            &workload.name
        } else {
            maker
        }
        .clone(),
        namespace: workload.namespace.clone(),
        principal: identity(workload).into(),
    }
}

pub(super) fn service_names(service: &Service) -> ServiceNames {
    ServiceNames {
        host: service.hostname.name.clone(),
        name: service.name.clone(),
        namespace: service.hostname.namespace.clone(),
    }
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
