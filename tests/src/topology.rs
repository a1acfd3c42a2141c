//! A small cluster: a node with pods, a remote node with pods, and a host outside of the mesh.
//!
//! ```text
//!   pod eth0 ── v-POD ┐                          ┌ v-POD ── eth0 pod
//!                     ├ node ── up0 ═══ up0 ── remote
//!   pod eth0 ── v-POD ┘    └─── ext0 ═══ eth0 external
//! ```
//!
//! Layer 3 only, as many CNI plugins do it: a pod's addresses are /32 and /128, its default route
//! goes to a link-local address of the node, the node forwards. There is no bridge and no NAT, and
//! nothing answers for service addresses: a packet to one that nobody steers is seen on the pod's
//! veth and then refused by the node.

mod node;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::ip::Batch;
use crate::netns::NetNs;

use node::{FIRST_INDEX, LINK_LOCAL, ROUTER_V6};
pub use node::{Node, Pod};

/// The external host's address and the node's on the same wire.
const EXTERNAL: Addresses = addresses([203, 0, 113, 10], [0x2001, 0xdb8, 113, 0, 0, 0, 0, 0x10]);
const EXTERNAL_GATEWAY: Addresses =
    addresses([203, 0, 113, 1], [0x2001, 0xdb8, 113, 0, 0, 0, 0, 1]);

/// One address of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Both, v4 first.
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The one of the same family as another address.
    pub fn like(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => self.v4.into(),
            IpAddr::V6(_) => self.v6.into(),
        }
    }
}

/// A host outside of the mesh, behind the node.
#[derive(Debug)]
pub struct Host {
    pub netns: NetNs,
    pub addresses: Addresses,
}

/// The whole of it. Dropping it removes every namespace, and with them the links.
#[derive(Debug)]
pub struct Topology {
    pub node: Node,
    pub remote: Node,
    pub external: Host,
}

impl Topology {
    /// The node's end of the link to the external host.
    pub const EXTERNAL_LINK: &str = "ext0";

    /// Makes two nodes with the named pods and the external host. What a killed run has left is
    /// removed first.
    pub fn new(local: &[&str], remote: &[&str]) -> Result<Self> {
        crate::netns::sweep()?;
        let mut topology = Self {
            node: Node::new("node", 1)?,
            remote: Node::new("remote", 2)?,
            external: Host {
                netns: NetNs::new("external")?,
                addresses: EXTERNAL,
            },
        };
        Node::connect(&topology.node, &topology.remote)?;
        topology.connect_external()?;
        for name in local {
            topology.node.add_pod(name)?;
        }
        for name in remote {
            topology.remote.add_pod(name)?;
        }
        Ok(topology)
    }

    /// A pod of either node, by name.
    ///
    /// # Panics
    /// Where there is no such pod: a test that misspells a name should stop there.
    pub fn pod(&self, name: &str) -> &Pod {
        self.pods()
            .find(|pod| pod.name == name)
            .unwrap_or_else(|| panic!("the topology has no pod {name}"))
    }

    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.node.pods.iter().chain(&self.remote.pods)
    }

    fn connect_external(&self) -> Result<()> {
        let Addresses { v4, v6 } = EXTERNAL_GATEWAY;
        let external = &self.external.netns;
        let external_link = Self::EXTERNAL_LINK;
        Batch::default()
            .add(format_args!(
                "link add {external_link} index {} type veth peer name eth0 netns {}",
                FIRST_INDEX + 1,
                external.name()
            ))
            .add(format_args!("addr add {v4}/24 dev {external_link}"))
            .add(format_args!("addr add {v6}/64 dev {external_link} nodad"))
            .add(format_args!(
                "addr add {ROUTER_V6}/64 dev {external_link} nodad"
            ))
            .add(format_args!("link set {external_link} up"))
            .run(&self.node.netns)?;
        node::prepare(external)?;
        Batch::default()
            .add(format_args!("link set lo up"))
            .add(format_args!("addr add {}/24 dev eth0", EXTERNAL.v4))
            .add(format_args!("addr add {}/64 dev eth0 nodad", EXTERNAL.v6))
            .add(format_args!("addr add {LINK_LOCAL}/64 dev eth0 nodad"))
            .add(format_args!("link set eth0 up"))
            .add(format_args!("route add default via {v4}"))
            .add(format_args!("route add default via {v6}"))
            .run(external)?;
        // The remote node reaches it through the node.
        let Addresses { v4, v6 } = self.node.addresses;
        Batch::default()
            .add(format_args!("route add {}/32 via {v4}", EXTERNAL.v4))
            .add(format_args!("route add {}/128 via {v6}", EXTERNAL.v6))
            .run(&self.remote.netns)
    }
}

/// A service's addresses, from ranges that no pod is in.
pub fn service_addresses(number: u8) -> Addresses {
    addresses(
        [10, 96, 0, number],
        [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number as u16],
    )
}

const fn addresses(v4: [u8; 4], v6: [u16; 8]) -> Addresses {
    let [a, b, c, d] = v4;
    let [e, f, g, h, i, j, k, l] = v6;
    Addresses {
        v4: Ipv4Addr::new(a, b, c, d),
        v6: Ipv6Addr::new(e, f, g, h, i, j, k, l),
    }
}
