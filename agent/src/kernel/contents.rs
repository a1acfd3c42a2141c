//! What is in the pinned maps, for whoever asks, with an agent or without one. Reads, and changes
//! nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError};
use thiserror::Error;
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, FlowKey, PolicyKey, ServiceKey, ServicePortKey, TupleKey,
    WaypointKey, WaypointMemberKey,
};
use waysteer_common::abi::names::ABI_VERSION;
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::value::{
    ConnectionValue, EndpointSetValue, EndpointValue, LocalConnectionValue, LocalFlowValue,
    PodAddressValue, PolicyValue, ServiceValue, VerdictValue, WorkloadValue,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::maps::OpenError;
use super::observe::{Counters, PodTraffic, PodTrafficEntries, PodTrafficError, is_open};
use super::pins::{self, Generation, PinError};
use super::wire::Wire;
use crate::compile::CidrTableKey;

/// One set of pinned maps.
#[derive(Debug)]
pub struct Contents {
    generation: Generation,
}

#[derive(Debug, Error)]
pub enum ContentsError {
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(
        "nothing is pinned in {}: no agent has run with this --pin-root since the node started",
        root.display()
    )]
    Nothing { root: PathBuf },
    #[error(
        "the maps in {} are those of another version: ABI {}, and this is ABI {ABI_VERSION}; ask \
         the waysteer that runs there",
        root.display(),
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Abi { root: PathBuf, found: Vec<u32> },
    #[error("cannot read the map {}: are you root?", path.display())]
    Map {
        path: PathBuf,
        #[source]
        source: MapError,
    },
    #[error(transparent)]
    PodTraffic(#[from] PodTrafficError),
    #[error("what is pinned in {} are not the maps of this version", path.display())]
    Layout {
        path: PathBuf,
        #[source]
        source: OpenError,
    },
}

type Entries<K, V> = Result<BTreeMap<K, V>, ContentsError>;

impl Contents {
    /// # Errors
    /// Where nothing is pinned, or only what this version cannot read.
    pub fn open(root: &Path) -> Result<Self, ContentsError> {
        let generations = pins::generations(root)?;
        let found: Vec<u32> = generations.iter().map(Generation::abi).collect();
        let root = root.to_owned();
        // While an agent takes over from another there are two: the later one is to stay.
        let mut ours = generations
            .into_iter()
            .filter(|generation| generation.abi() == ABI_VERSION);
        match ours.next_back() {
            Some(generation) => Ok(Self { generation }),
            None if found.is_empty() => Err(ContentsError::Nothing { root }),
            None => Err(ContentsError::Abi { root, found }),
        }
    }

    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    pub fn path(&self) -> &Path {
        self.generation.path()
    }

    pub fn pods(&self) -> Entries<PodKey, PodValue> {
        self.hash("PODS")
    }

    pub fn pod_addresses(&self) -> Entries<AddressKey, PodAddressValue> {
        self.hash("POD_ADDRESSES")
    }

    pub fn workloads(&self) -> Entries<AddressKey, WorkloadValue> {
        self.hash("WORKLOADS")
    }

    pub fn policies(&self) -> Entries<PolicyKey, PolicyValue> {
        self.hash("POLICIES")
    }

    pub fn services(&self) -> Entries<ServiceKey, ServiceValue> {
        self.hash("SERVICES")
    }

    pub fn service_cidrs(&self) -> Entries<CidrTableKey<CidrKey>, ServiceValue> {
        self.trie("SERVICE_CIDRS")
    }

    pub fn service_ports(&self) -> Entries<ServicePortKey, EndpointSetValue> {
        self.hash("SERVICE_PORTS")
    }

    pub fn endpoints(&self) -> Entries<EndpointKey, EndpointValue> {
        self.hash("ENDPOINTS")
    }

    pub fn waypoints(&self) -> Entries<WaypointKey, EndpointSetValue> {
        self.hash("WAYPOINTS")
    }

    pub fn waypoint_members(&self) -> Entries<WaypointMemberKey, u8> {
        self.hash("WAYPOINT_MEMBERS")
    }

    /// Open connections that pods have begun.
    pub fn connections(&self) -> Entries<FlowKey, VerdictValue> {
        let name = "CONNECTIONS";
        let failed = |source| self.failed(name, source);
        let map: Array<MapData, Wire<ConnectionValue>> =
            self.map(name)?.try_into().map_err(failed)?;
        let mut all = BTreeMap::new();
        for slot in map.iter() {
            let Wire(slot) = slot.map_err(failed)?;
            if is_open(&slot) {
                all.insert(slot.tuple.in_netns(slot.netns.get()), slot.verdict);
            }
        }
        Ok(all)
    }

    /// Connections that the other side lets in past its tunnel, each with the map that says so.
    pub fn let_in(&self) -> Entries<TupleKey, &'static str> {
        let name = "LOCAL_FLOWS";
        let flows: BTreeMap<TupleKey, LocalFlowValue> = self.hash(name)?;
        let mut all: BTreeMap<_, _> = flows.into_keys().map(|tuple| (tuple, name)).collect();
        let name = "LOCAL_CONNECTIONS";
        let failed = |source| self.failed(name, source);
        let map: Array<MapData, Wire<LocalConnectionValue>> =
            self.map(name)?.try_into().map_err(failed)?;
        for slot in map.iter() {
            let Wire(slot) = slot.map_err(failed)?;
            if slot.recorded_at != 0 && slot.recorded_at != LocalConnectionValue::BUSY {
                all.insert(slot.tuple, name);
            }
        }
        Ok(all)
    }

    /// Steered connections of senders that never called `connect()`.
    pub fn packet_flows(&self) -> Entries<FlowKey, u8> {
        self.hash("PACKET_FLOWS")
    }

    pub fn counters(&self) -> Result<Counters, ContentsError> {
        Counters::open(&mut |name| self.map(name).ok()).map_err(|source| ContentsError::Layout {
            path: self.path().to_owned(),
            source,
        })
    }

    /// What the connections of each pod did.
    pub fn pod_traffic(&self) -> Result<PodTrafficEntries, ContentsError> {
        let opened = PodTraffic::open(&mut |name| self.map(name).ok());
        let opened = opened.map_err(|source| ContentsError::Layout {
            path: self.path().to_owned(),
            source,
        })?;
        Ok(opened.read()?)
    }

    fn hash<K, V>(&self, name: &str) -> Entries<K, V>
    where
        K: FromBytes + IntoBytes + Immutable + Ord + Copy + 'static,
        V: FromBytes + IntoBytes + Immutable + Copy + 'static,
    {
        let failed = |source| self.failed(name, source);
        let map: HashMap<MapData, Wire<K>, Wire<V>> = self.map(name)?.try_into().map_err(failed)?;
        map.iter()
            .map(|entry| entry.map(|(Wire(key), Wire(value))| (key, value)))
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    fn trie<K, V>(&self, name: &str) -> Entries<CidrTableKey<K>, V>
    where
        K: FromBytes + IntoBytes + Immutable + Ord + Copy + 'static,
        V: FromBytes + IntoBytes + Immutable + Copy + 'static,
    {
        let failed = |source| self.failed(name, source);
        let map: LpmTrie<MapData, Wire<K>, Wire<V>> = self.map(name)?.try_into().map_err(failed)?;
        let entry = |entry: Result<_, MapError>| {
            let (key, Wire(value)): (aya::maps::lpm_trie::Key<Wire<K>>, _) = entry?;
            let Wire(data) = key.data();
            let prefix = key.prefix_len();
            Ok((CidrTableKey { prefix, data }, value))
        };
        map.iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    fn map(&self, name: &str) -> Result<Map, ContentsError> {
        let data = MapData::from_pin(self.generation.map(name));
        let map = data.and_then(Map::from_map_data);
        map.map_err(|source| self.failed(name, source))
    }

    fn failed(&self, name: &str, source: MapError) -> ContentsError {
        ContentsError::Map {
            path: self.generation.map(name),
            source,
        }
    }
}
