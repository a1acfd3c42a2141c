//! A netns's devices and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::Handle;

use super::{NetnsError, PodNetns};
use crate::kernel::route_socket::{RouteSocketError, failed, with_route_socket};

/// A device of a pod, normally its `eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDevice {
    pub index: u32,
    pub name: String,
    pub up: bool,
}

/// What a pod's packets come and go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNetwork {
    /// All but loopback devices, up or not, in the kernel's order.
    pub devices: Vec<PodDevice>,
    /// All of global scope, in the kernel's order, whatever device they are on.
    pub addresses: Vec<IpAddr>,
}

impl PodNetwork {
    /// The pod's main address: the first, as for the kubelet.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
    }

    /// The pod's main address: the first, as for the kubelet.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(*v6),
        })
    }

    /// Of the calling thread's netns.
    pub fn of_this_thread() -> Result<Self, RouteSocketError> {
        with_route_socket(async |handle| Self::read(&handle).await)
    }

    /// Of the socket's netns.
    pub(in crate::kernel) async fn read(handle: &Handle) -> Result<Self, RouteSocketError> {
        let links: Vec<LinkMessage> = handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("list devices"))?;
        let addresses: Vec<AddressMessage> = handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("list addresses"))?;
        Ok(Self {
            devices: links.iter().filter_map(device).collect(),
            addresses: addresses.iter().filter_map(global_address).collect(),
        })
    }
}

impl PodNetns {
    /// Blocks, see [`PodNetns::run`].
    pub fn network(&self) -> Result<PodNetwork, NetnsError> {
        let network = |path: &Path, source| NetnsError::Network {
            path: path.to_owned(),
            source,
        };
        self.run(PodNetwork::of_this_thread)?
            .map_err(|source| network(self.path(), source))
    }
}

fn device(link: &LinkMessage) -> Option<PodDevice> {
    if link.header.flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    Some(PodDevice {
        index: link.header.index,
        name,
        up: link.header.flags.contains(LinkFlags::Up),
    })
}

fn global_address(address: &AddressMessage) -> Option<IpAddr> {
    if address.header.scope != AddressScope::Universe {
        return None;
    }
    let local = address
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(local) => Some(*local),
            _ => None,
        });
    // On a point-to-point device `Address` is the peer's, and `Local` is always there.
    local.or_else(|| {
        address
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    })
}
