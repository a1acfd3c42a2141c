//! A node and its pods.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};

use super::{Addresses, addresses};
use crate::ip::Batch;
use crate::netns::{Former, NetNs};

/// Every pod's default router: link-local addresses that the node has on every veth.
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub(super) const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the other end of a link to a router has. The kernel would make one too, but up to a second
/// later, when it notices the carrier; until then nobody who forwards can look for its neighbours.
pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// Links of a node have other indices than their peers, as on a real node. Where the two are equal,
/// the kernel takes a veth for a physical link, whose carrier it looks at once a second only
/// (`linkwatch_urgent_event`); until then packets are dropped.
pub(super) const FIRST_INDEX: u32 = 100;
const POD_INDEX: u32 = 110;

/// Pods' addresses are of these numbers in their node's range.
const FIRST_HOST: u8 = 10;
const LAST_HOST: u8 = 249;

/// The kernel's limit on an interface's name, without its end mark.
const INTERFACE_NAME: usize = 15;

/// A machine: what Kubernetes calls the host's network namespace, and its pods.
#[derive(Debug)]
pub struct Node {
    pub netns: NetNs,
    /// Its own addresses, on the link to the other node (`up0`).
    pub addresses: Addresses,
    pub pods: Vec<Pod>,
    number: u8,
    /// The last part of the next pod's addresses.
    next: u8,
}

/// A pod: a namespace with `eth0`, one address of each family.
#[derive(Debug)]
pub struct Pod {
    pub name: String,
    pub netns: NetNs,
    pub addresses: Addresses,
    /// Its link's end on the node, where captures are made.
    pub veth: String,
}

impl Node {
    /// The link between the nodes; captures of what leaves the node are made there.
    pub const UPLINK: &str = "up0";

    pub(super) fn new(name: &str, number: u8) -> Result<Self> {
        let netns = NetNs::new(name)?;
        prepare(&netns)?;
        netns.set_sysctl("net/ipv4/ip_forward", "1")?;
        netns.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        Batch::default()
            .add(format_args!("link set lo up"))
            .run(&netns)?;
        Ok(Self {
            netns,
            addresses: addresses(
                [192, 168, 77, number],
                [0xfd00, 0x77, 0, 0, 0, 0, 0, number as u16],
            ),
            pods: Vec::new(),
            number,
            next: FIRST_HOST,
        })
    }

    /// Lays the link between two nodes, with routes to each other's pods.
    pub(super) fn connect(one: &Self, other: &Self) -> Result<()> {
        Batch::default()
            .add(format_args!(
                "link add {0} index {FIRST_INDEX} type veth peer name {0} netns {1}",
                Self::UPLINK,
                other.netns.name()
            ))
            .run(&one.netns)?;
        let uplink = Self::UPLINK;
        // Both ends first: a link with one end up has no carrier, and no IPv6 address yet.
        for (node, link_local) in [(one, ROUTER_V6), (other, LINK_LOCAL)] {
            let Addresses { v4, v6 } = node.addresses;
            Batch::default()
                .add(format_args!("addr add {v4}/24 dev {uplink}"))
                .add(format_args!("addr add {v6}/64 dev {uplink} nodad"))
                .add(format_args!("addr add {link_local}/64 dev {uplink} nodad"))
                .add(format_args!("link set {uplink} up"))
                .run(&node.netns)?;
        }
        for (node, peer) in [(one, other), (other, one)] {
            let (own, hop) = (node.addresses, peer.addresses);
            let number = peer.number;
            Batch::default()
                .add(format_args!(
                    "route add 10.1.{number}.0/24 via {} src {}",
                    hop.v4, own.v4
                ))
                .add(format_args!(
                    "route add fd00:10:1:{number:x}::/64 via {} src {}",
                    hop.v6, own.v6
                ))
                .run(&node.netns)?;
        }
        Ok(())
    }

    /// Adds a pod, ready for traffic on return.
    pub fn add_pod(&mut self, name: &str) -> Result<&Pod> {
        let veth = format!("v-{name}");
        ensure!(
            veth.len() <= INTERFACE_NAME,
            "pod name {name} is too long for an interface's name"
        );
        let netns = NetNs::new(name)?;
        prepare(&netns)?;
        let host = self.next;
        // An address is used again as late as possible, as cluster networks do it.
        let used = |host| {
            self.pods
                .iter()
                .any(|pod| pod.addresses.v4.octets()[3] == host)
        };
        let mut after = (host + 1..=LAST_HOST).chain(FIRST_HOST..host);
        let next = after.find(|host| !used(*host));
        let next = next.with_context(|| format!("pod {name} is one too many for the node"))?;
        let pod = Pod {
            name: name.to_owned(),
            netns,
            addresses: addresses(
                [10, 1, self.number, host],
                [0xfd00, 0x10, 1, self.number as u16, 0, 0, 0, host as u16],
            ),
            veth,
        };
        self.attach(&pod)
            .with_context(|| format!("pod {name} could not be attached"))?;
        self.next = next;
        self.pods.push(pod);
        self.pods.last().context("a pod was just added")
    }

    /// Gives a pod another `eth0`, with the same addresses; the one before goes away. Its link takes
    /// the place of the next pod's.
    pub fn replug(&self, name: &str) -> Result<()> {
        let pod = self.pods.iter().find(|pod| pod.name == name);
        let pod = pod.context("a pod of the node")?;
        let mut unplug = Batch::default();
        unplug.add(format_args!("link del {}", pod.veth));
        unplug.run(&self.netns)?;
        self.attach(pod)
    }

    /// Puts an empty namespace in the place of a pod's, as when its sandbox is made anew, and gives
    /// it a new `eth0` with the same addresses.
    pub fn reboot(&mut self, name: &str) -> Result<Former> {
        let pod = self.pods.iter_mut().find(|pod| pod.name == name);
        let pod = pod.context("a pod of the node")?;
        let former = pod.netns.remake()?;
        prepare(&pod.netns)?;
        self.replug(name)?;
        Ok(former)
    }

    /// Takes a pod away, with its namespace.
    pub fn remove_pod(&mut self, name: &str) {
        self.pods.retain(|pod| pod.name != name);
    }

    fn attach(&self, pod: &Pod) -> Result<()> {
        let Addresses { v4, v6 } = pod.addresses;
        let veth = &pod.veth;
        Batch::default()
            .add(format_args!(
                "link add {veth} index {} type veth peer name eth0 netns {}",
                POD_INDEX + u32::from(self.next - FIRST_HOST),
                pod.netns.name()
            ))
            .add(format_args!(
                "addr add {ROUTER_V4}/32 dev {veth} scope link"
            ))
            .add(format_args!("addr add {ROUTER_V6}/64 dev {veth} nodad"))
            .add(format_args!("link set {veth} up"))
            .add(format_args!(
                "route add {v4}/32 dev {veth} src {}",
                self.addresses.v4
            ))
            .add(format_args!(
                "route add {v6}/128 dev {veth} src {}",
                self.addresses.v6
            ))
            .run(&self.netns)?;
        Batch::default()
            .add(format_args!("link set lo up"))
            .add(format_args!("addr add {v4}/32 dev eth0"))
            .add(format_args!("addr add {v6}/128 dev eth0 nodad"))
            .add(format_args!("addr add {LINK_LOCAL}/64 dev eth0 nodad"))
            .add(format_args!("link set eth0 up"))
            .add(format_args!("route add {ROUTER_V4}/32 dev eth0 scope link"))
            .add(format_args!("route add default via {ROUTER_V4} dev eth0"))
            .add(format_args!("route add default via {ROUTER_V6} dev eth0"))
            .run(&pod.netns)
    }
}

/// Addresses are usable at once: without duplicate address detection.
pub(super) fn prepare(netns: &NetNs) -> Result<()> {
    for scope in ["all", "default"] {
        netns.set_sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
        netns.set_sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
    }
    Ok(())
}
