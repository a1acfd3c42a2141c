//! What compilation needs besides the mesh.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::Text;

/// Facts of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: Text,
    /// The network whose addresses are dialled directly.
    pub network: Text,
    /// `direct_local = "bypass"`.
    pub direct_local_bypass: bool,
    pub mesh_cidrs: Vec<IpNet>,
    /// Whether the kernel reports each verdict.
    pub events: bool,
}

/// A pod of this node whose traffic is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledPod {
    /// Netns cookie.
    pub netns: u64,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    /// Every address in its netns, the main one of each family first.
    pub addresses: Vec<IpAddr>,
}
