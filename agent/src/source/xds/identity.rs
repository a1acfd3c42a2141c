//! How the agent introduces itself to istiod: as what it stands beside, a ztunnel.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::proto::discovery::Node;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// This pod's address.
    pub ip: String,
    pub pod: String,
    pub namespace: String,
    /// The cluster's domain, e.g. `cluster.local`.
    pub domain: String,
    pub node: String,
    pub cluster_id: String,
    /// Nothing is the newest that istiod knows.
    pub istio_version: Option<String>,
}

impl NodeIdentity {
    pub(super) fn to_proto(&self) -> Node {
        let Self {
            ip,
            pod,
            namespace,
            domain,
            node,
            cluster_id,
            istio_version,
        } = self;
        let metadata = [
            ("NAMESPACE", Some(namespace)),
            ("NODE_NAME", Some(node)),
            ("CLUSTER_ID", Some(cluster_id)),
            ("ISTIO_VERSION", istio_version.as_ref()),
        ];
        let field = |(key, text): (&str, Option<&String>)| {
            let kind = Some(Kind::StringValue(text?.clone()));
            Some((key.to_owned(), Value { kind }))
        };
        let fields: BTreeMap<String, Value> = metadata.into_iter().filter_map(field).collect();
        Node {
            id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.{domain}"),
            cluster: String::new(),
            metadata: Some(Struct { fields }),
        }
    }
}
