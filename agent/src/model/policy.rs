//! Authorization policies, as far as redirection needs them.

use super::NamespacedName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: NamespacedName,
    pub scope: PolicyScope,
}

/// Which workloads a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyScope {
    Global,
    /// Every workload of the policy's namespace; the empty namespace is the whole mesh.
    Namespace,
    /// Workloads that name the policy.
    WorkloadSelector,
}
