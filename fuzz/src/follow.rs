//! What becomes of responses: the state, the compiler, and what the maps would hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use waysteer::address::to_wire;
use waysteer::compile::{Compiler, EnrolledPod, Node, TableLookup, Tables, compile};
use waysteer::model::{NetworkMode, TunnelProtocol, Visibility};
use waysteer::source::xds::XdsState;
use waysteer::source::xds::proto::discovery::DeltaDiscoveryResponse;
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::{Reason, Verdict};

/// One agent, from its start.
pub struct Follower {
    state: XdsState,
    compiler: Compiler,
    maps: Tables,
    pods: BTreeMap<u64, EnrolledPod>,
}

impl Default for Follower {
    fn default() -> Self {
        let mut follower = Self {
            state: XdsState::default(),
            compiler: Compiler::new(node()),
            maps: Tables::default(),
            pods: BTreeMap::new(),
        };
        follower.write();
        follower
    }
}

impl Follower {
    /// Takes a response, and the same again.
    pub fn take(&mut self, response: DeltaDiscoveryResponse) {
        let Some(taken) = self.state.take(response.clone()) else {
            return;
        };
        self.compiler.apply(taken.delta);
        self.write();
        let again = self.state.take(response).expect("a type that was taken");
        assert_eq!(again.refused, taken.refused);
        self.compiler.apply(again.delta);
        let changes = self.compiler.take_changes();
        assert!(changes.is_empty(), "told again, written again: {changes:?}");
        self.look();
    }

    pub fn set_pod(&mut self, pod: EnrolledPod) {
        self.compiler.set_pod(pod.clone());
        self.pods.insert(pod.netns, pod);
        self.write();
    }

    pub fn remove_pod(&mut self, netns: u64) {
        self.compiler.remove_pod(netns);
        self.pods.remove(&netns);
        self.write();
    }

    /// The way to here does not matter.
    pub fn end(&mut self) {
        let pods: Vec<EnrolledPod> = self.pods.values().cloned().collect();
        let whole = compile(self.compiler.mesh(), &node(), &pods);
        assert_eq!(whole.tables, *self.compiler.tables());
        self.look();
    }

    /// What the maps would hold is what was compiled.
    fn write(&mut self) {
        let changes = self.compiler.take_changes();
        changes.apply(&mut self.maps);
        self.maps.settings = changes.settings;
        assert_eq!(self.maps, *self.compiler.tables());
    }

    /// There is a verdict for whatever is in the tables, and none lets by what must not go by.
    fn look(&self) {
        let tables = self.compiler.tables();
        let workloads = tables.workloads.keys().map(|key| key.address);
        let services = tables.services.keys().map(|key| key.address);
        let blocks = tables.service_cidrs.keys();
        let blocks = blocks.map(|key| Address::from_v6(key.data.address));
        for destination in workloads.chain(services).chain(blocks).take(32) {
            self.verdicts(destination);
        }
        let mesh = self.compiler.mesh();
        for workload in mesh.workloads.values() {
            let is_found = workload.network.is_empty()
                && workload.network_mode == NetworkMode::Standard
                && workload.protocol != TunnelProtocol::Tcp;
            for address in workload.addresses.iter().filter(|_| is_found) {
                for verdict in self.verdicts(to_wire(*address)) {
                    let by_itself = [Reason::OwnAddress, Reason::LocalBypass];
                    let is_safe = verdict.steer || by_itself.contains(&verdict.reason);
                    assert!(is_safe, "in plaintext to {}: {verdict:?}", workload.uid);
                }
            }
        }
        for rejection in mesh.rejected.values() {
            for address in &rejection.addresses {
                self.is_steered(*address, "claimed by a rejected entry");
            }
        }
        let is_claimed = |address: &IpAddr| {
            let mut workloads = mesh.workloads.values();
            workloads.any(|workload| workload.addresses.contains(address))
        };
        for service in mesh.services.values() {
            let has_waypoint = service.waypoint.is_some() || !service.weighted_waypoints.is_empty();
            if !has_waypoint || service.visibility != Visibility::Public {
                continue;
            }
            let vips = service.vips.iter().filter(|vip| vip.network.is_empty());
            for vip in vips.filter(|vip| !is_claimed(&vip.address)) {
                let mut others = mesh.services.values();
                if !others
                    .any(|other| other.hostname != service.hostname && other.vips.contains(vip))
                {
                    self.is_steered(vip.address, "behind a waypoint");
                }
            }
        }
        let mut rejections = mesh.rejected.values();
        let unknown = IpAddr::from([203, 0, 113, 9]);
        let is_known = is_claimed(&unknown)
            || mesh.services.values().any(|service| {
                let mut vips = service.vips.iter();
                let mut blocks = service.cidr_vips.iter();
                vips.any(|vip| vip.address == unknown)
                    || blocks.any(|block| block.cidr.contains(&unknown))
            });
        if !is_known && (!mesh.complete || rejections.any(|rejection| rejection.addresses_unknown))
        {
            self.is_steered(unknown, "not known yet");
        }
    }

    /// For every pod whose own address it is not.
    fn is_steered(&self, address: IpAddr, why: &str) {
        for verdict in self.verdicts(to_wire(address)) {
            let is_safe = verdict.steer || verdict.reason == Reason::OwnAddress;
            assert!(is_safe, "{address}, {why}: {verdict:?}");
        }
    }

    /// Of some ports and draws, from every pod.
    fn verdicts(&self, destination: Address) -> Vec<Verdict> {
        let tables = self.compiler.tables();
        let mut verdicts = Vec::new();
        for (key, pod) in &tables.pods {
            for (port, random) in [(80, 0), (443, u32::MAX), (15008, 7), (0, 1 << 31)] {
                let flow = Flow {
                    pod,
                    netns: key.netns.get(),
                    destination,
                    port,
                    is_dialling: true,
                };
                let lookup = TableLookup {
                    tables,
                    random: || random,
                };
                verdicts.push(classify(&flow, &lookup));
            }
        }
        verdicts
    }
}

/// A pod of this node that istiod may tell of.
pub fn pod(number: u8) -> EnrolledPod {
    EnrolledPod {
        netns: u64::from(number) + 1,
        name: format!("w{number}"),
        namespace: "default".into(),
        service_account: "default".into(),
        addresses: vec![IpAddr::from([10, 0, 0, number])],
    }
}

fn node() -> Node {
    Node {
        name: "node1".into(),
        direct_local_bypass: true,
        ..Node::default()
    }
}
