//! The names that connections are counted by.

use std::collections::BTreeMap;

use waysteer_common::abi::key::TrafficKey;
use waysteer_common::abi::pod::PodKey;

use super::book::Known;
use crate::compile::{self, Compiler, ServiceNames, WorkloadNames};
use crate::model::Text;

/// A workload of this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub workload: Text,
    pub namespace: Text,
    pub principal: Text,
}

/// What was dialled, as far as the kernel's verdict says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    Workload(WorkloadNames),
    Service(ServiceNames),
    /// Nothing of the mesh, or nothing that the mesh has now.
    Unknown,
    /// All those that have no room of their own.
    Other,
}

/// One line of each metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub source: Source,
    pub destination: Destination,
}

impl Source {
    /// What its entries of pods that left have in the place of a netns cookie.
    pub fn id(&self) -> u64 {
        compile::source_id(&self.namespace, &self.workload, &self.principal)
    }
}

impl Series {
    pub(super) fn is_other(&self) -> bool {
        self.destination == Destination::Other
    }

    /// As ztunnel names them. A label of which nothing is known is `unknown`.
    pub fn labels(&self) -> BTreeMap<&'static str, String> {
        let Self {
            source:
                Source {
                    workload,
                    namespace,
                    principal,
                },
            destination,
        } = self;
        let nobody = match destination {
            Destination::Other => "other",
            Destination::Workload(_) | Destination::Service(_) | Destination::Unknown => "unknown",
        };
        let mut labels = BTreeMap::from([
            ("reporter", "source"),
            ("request_protocol", "tcp"),
            ("connection_security_policy", "none"),
            ("source_workload", workload),
            ("source_workload_namespace", namespace),
            ("source_principal", principal),
            ("destination_workload", nobody),
            ("destination_workload_namespace", nobody),
            ("destination_principal", "unknown"),
            ("destination_service", nobody),
            ("destination_service_name", nobody),
            ("destination_service_namespace", nobody),
        ]);
        match destination {
            Destination::Workload(workload) => {
                labels.insert("destination_workload", &workload.workload);
                labels.insert("destination_workload_namespace", &workload.namespace);
            }
            Destination::Service(service) => {
                labels.insert("destination_service", &service.host);
                labels.insert("destination_service_name", &service.name);
                labels.insert("destination_service_namespace", &service.namespace);
            }
            Destination::Unknown | Destination::Other => {}
        }
        let owned = |(label, value): (_, &str)| (label, value.to_owned());
        labels.into_iter().map(owned).collect()
    }
}

/// What the compiled mesh knows.
impl Known for Compiler {
    fn source(&self, netns: u64) -> Option<Source> {
        let pod = self.tables().pods.get(&PodKey {
            netns: netns.into(),
        })?;
        let names = self.workload_names(pod.workload.get())?;
        Some(Source {
            workload: names.workload,
            namespace: names.namespace,
            principal: names.principal,
        })
    }

    fn destination(&self, key: &TrafficKey) -> Option<Destination> {
        let id = key.destination.get();
        let named = if id == 0 {
            return Some(Destination::Unknown);
        } else if key.flags & TrafficKey::SERVICE != 0 {
            self.service_names(id).map(Destination::Service)
        } else {
            self.workload_names(id).map(Destination::Workload)
        };
        // From a mesh that is not whole nobody knows.
        let gone = self.mesh().complete.then_some(Destination::Unknown);
        named.or(gone)
    }
}
