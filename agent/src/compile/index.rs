//! The mesh by the questions that compilation asks.

mod change;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::input::{EnrolledPod, Node};
use super::multimap::Multimap;
use super::place::Place;
use super::registry::Registry;
use crate::model::{
    GatewayAddress, GatewayDestination, Mesh, NamespacedName, NetworkAddress, Service, Text,
    TunnelProtocol, Uid, Visibility, Workload,
};

/// The mesh, this node and its enrolled pods. Only `change` writes here, and says what is out of
/// date by it.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) mesh: Mesh,
    pub(super) node: Node,
    pub(super) pods: BTreeMap<u64, Pod>,
    pub(super) waypoints: Registry,
    /// Places of the enrolled pods, by group.
    pub(super) places: BTreeMap<u32, Place>,
    workload_ids: HashMap<u64, Uid>,
    service_ids: HashMap<u64, NamespacedName>,
    endpoints: Multimap<NamespacedName, Uid>,
    /// Who claims each address of our network.
    addresses: Multimap<IpAddr, Uid>,
    /// By namespace and name.
    by_name: Multimap<NamespacedName, Uid>,
    /// By namespace and host name.
    by_hostname: Multimap<NamespacedName, Uid>,
    vips: Multimap<NetworkAddress, NamespacedName>,
    /// Of our network.
    blocks: Multimap<IpNet, NamespacedName>,
    /// Services whose endpoints depend on where the source is.
    grouped: BTreeSet<NamespacedName>,
    pod_addresses: Multimap<IpAddr, u64>,
    /// Netns of enrolled pods, by namespace and name.
    pods_by_name: Multimap<NamespacedName, u64>,
    /// Addresses that a rejected entry claims, whoever else has them.
    disputed: BTreeSet<IpAddr>,
    /// Workloads of this node.
    locals: BTreeSet<Uid>,
    /// Policies that apply to every workload.
    global_policies: BTreeSet<NamespacedName>,
    /// Policies that apply to every workload of a namespace.
    namespace_policies: Multimap<Text, NamespacedName>,
}

/// An enrolled pod with the workload that the source knows it as.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) pod: EnrolledPod,
    pub(super) workload: Option<Uid>,
}

/// What a gateway's address leads to.
pub(super) enum Found<'a> {
    Service(&'a Service),
    Workload(&'a Workload),
}

impl Index {
    pub(super) fn workload(&self, uid: &Uid) -> Option<&Workload> {
        self.mesh.workloads.get(uid).map(Box::as_ref)
    }

    pub(super) fn workload_by_id(&self, id: u64) -> Option<&Workload> {
        self.workload(self.workload_ids.get(&id)?)
    }

    pub(super) fn service_by_id(&self, id: u64) -> Option<&Service> {
        self.mesh.services.get(self.service_ids.get(&id)?)
    }

    pub(super) fn endpoints<'a>(
        &'a self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = &'a Workload> + use<'a> {
        let uids = self.endpoints.get(service);
        uids.filter_map(|uid| self.workload(uid))
    }

    /// Two owners: while a pod's address moves. The one that needs protection wins.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&Workload> {
        let claims = self.addresses.get(&address);
        let mut claims = claims.filter_map(|uid| self.workload(uid));
        let first = claims.next()?;
        if needs_tunnel(first) {
            return Some(first);
        }
        Some(claims.find(|other| needs_tunnel(other)).unwrap_or(first))
    }

    /// Services that have an address of our network.
    pub(super) fn services_at(&self, address: IpAddr) -> Vec<&Service> {
        let address = NetworkAddress {
            network: self.node.network.clone(),
            address,
        };
        self.named(self.vips.get(&address))
    }

    /// Services that have a block of our network.
    pub(super) fn services_of_block(&self, block: &IpNet) -> Vec<&Service> {
        self.named(self.blocks.get(block))
    }

    fn named<'a>(&'a self, names: impl Iterator<Item = &'a NamespacedName>) -> Vec<&'a Service> {
        names
            .filter_map(|name| self.mesh.services.get(name))
            .collect()
    }

    /// What a gateway's address leads to; as ztunnel looks, services first.
    pub(super) fn find(&self, address: &GatewayAddress) -> Option<Found<'_>> {
        match &address.destination {
            GatewayDestination::Hostname(name) => {
                let service = self.mesh.services.get(name).map(Found::Service);
                service.or_else(|| {
                    let mut named = self.by_hostname.get(name);
                    let workload = named.find_map(|uid| self.workload(uid));
                    workload.map(Found::Workload)
                })
            }
            GatewayDestination::Address(wanted) => {
                let services = self.named(self.vips.get(wanted));
                let service = public_choice(&services).or(services.first().copied());
                service.map(Found::Service).or_else(|| {
                    let ours = wanted.network == self.node.network;
                    let owner = ours.then(|| self.owner(wanted.address)).flatten();
                    owner.map(Found::Workload)
                })
            }
        }
    }

    /// The workload that the source knows an enrolled pod as.
    pub(super) fn workload_of(&self, pod: &Pod) -> Option<&Workload> {
        self.workload(pod.workload.as_ref()?)
    }

    /// Whether an address belongs to an enrolled pod that is this workload.
    pub(super) fn is_enrolled(&self, address: IpAddr, workload: &Workload) -> bool {
        self.pod_addresses.get(&address).any(|netns| {
            let pod = self.pods.get(netns);
            pod.is_some_and(|pod| pod.workload.as_ref() == Some(&workload.uid))
        })
    }

    /// The netns of the enrolled pod that has an address; of several the youngest.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<u64> {
        self.pod_addresses.get(&address).last().copied()
    }

    pub(super) fn is_disputed(&self, address: IpAddr) -> bool {
        self.disputed.contains(&address)
    }

    /// Whether what policies say of the workload of an address is not known.
    pub(super) fn is_doubted(&self, address: IpAddr) -> bool {
        self.is_disputed(address) || self.mesh.doubted.contains(&address)
    }

    /// Whether a rejected entry may own any address.
    pub(super) fn addresses_unknown(&self) -> bool {
        self.mesh.rejected.values().any(|r| r.addresses_unknown)
    }

    /// The netns of the enrolled pods that are a workload.
    pub(super) fn pods_of(&self, workload: u64) -> impl Iterator<Item = u64> {
        let uid = self.workload_ids.get(&workload);
        let pods = self
            .pods
            .iter()
            .filter(move |(_, pod)| uid.is_some() && pod.workload.as_ref() == uid);
        pods.map(|(netns, _)| *netns)
    }

    pub(super) fn is_local(&self, workload: &Workload) -> bool {
        !self.node.name.is_empty() && workload.node == self.node.name
    }

    pub(super) fn is_remote(&self, workload: &Workload) -> bool {
        workload.network != self.node.network
    }

    /// Whether this node has to know which policies apply at an address.
    pub(super) fn is_ours(&self, address: IpAddr, workload: &Workload) -> bool {
        self.is_local(workload) || self.pod_addresses.contains(&address)
    }

    /// The policies that apply to a workload, and those that it names and that have not arrived.
    pub(super) fn policies_of<'a>(
        &'a self,
        workload: &'a Workload,
    ) -> impl Iterator<Item = &'a NamespacedName> {
        let of_namespace = self.namespace_policies.get(&workload.namespace);
        let global = self.global_policies.iter().chain(of_namespace);
        global.chain(&workload.authorization_policies)
    }

    /// The groups that sets are compiled for.
    pub(super) fn groups(&self, grouped: bool) -> Vec<(u32, Option<&Place>)> {
        if grouped {
            let places = self.places.iter();
            places.map(|(group, place)| (*group, Some(place))).collect()
        } else {
            vec![(0, None)]
        }
    }
}

/// The service that clients without one of their own namespace get.
pub(super) fn public_choice<'a>(services: &[&'a Service]) -> Option<&'a Service> {
    let public = || {
        let all = services.iter().copied();
        all.filter(|s| s.visibility == Visibility::Public)
    };
    public().find(|s| s.canonical).or_else(|| public().next())
}

fn needs_tunnel(workload: &Workload) -> bool {
    workload.protocol != TunnelProtocol::Tcp
}
