//! Local pods that are to be captured.

use std::path::PathBuf;

/// A pod of this node whose traffic is to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    /// The pod's network namespace, e.g. `/run/netns/web-1` or `/proc/PID/ns/net`.
    pub netns: PathBuf,
}
