//! From istiod's policies to the model.

use super::proto::authorization as proto;
use crate::model::{NamespacedName, Policy, PolicyScope};

/// A scope that is not known counts for the whole mesh.
pub(super) fn policy(from: proto::Authorization) -> Policy {
    let scope = match proto::Scope::try_from(from.scope) {
        Ok(proto::Scope::Namespace) => PolicyScope::Namespace,
        Ok(proto::Scope::WorkloadSelector) => PolicyScope::WorkloadSelector,
        Ok(proto::Scope::Global) | Err(_) => PolicyScope::Global,
    };
    Policy {
        name: NamespacedName {
            namespace: from.namespace.into(),
            name: from.name.into(),
        },
        scope,
    }
}
