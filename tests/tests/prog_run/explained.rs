//! What `explain` says it has looked up is what its verdict was made of: the classifier on the
//! host, given these look-ups and nothing else, comes to the same.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer::address::to_wire;
use waysteer::compile::Tables;
use waysteer::kernel::explain::{Explanation, Met};
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PolicyValue, ServiceValue, WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, Lookup, classify};
use waysteer_common::verdict::Verdict;
use waysteer_tests::cases::{CASES, PODS};

use super::agreement::{Kernel, mesh, node};
use super::random::{Numbers, changed};

/// Look-ups, answered in the order in which they were made.
struct Replay<'a> {
    met: &'a [Met],
    next: Cell<usize>,
    /// One was asked that was not made, or with another key.
    strayed: Cell<bool>,
}

impl<'a> Replay<'a> {
    fn take(&self) -> Option<&'a Met> {
        let at = self.next.get();
        self.next.set(at + 1);
        self.met.get(at)
    }

    fn stray<T>(&self) -> Option<T> {
        self.strayed.set(true);
        None
    }
}

/// The answer of the next look-up, if it was made in this table with this key.
macro_rules! replayed {
    ($self:ident, $kind:ident, $key:expr) => {
        match $self.take() {
            Some(Met::$kind(key, value)) if key == $key => value.as_ref(),
            _ => $self.stray(),
        }
    };
}

impl Lookup for Replay<'_> {
    fn settings(&self) -> &SettingsValue {
        match self.take() {
            Some(Met::Settings(value)) => value,
            _ => {
                self.strayed.set(true);
                &SettingsValue::NONE
            }
        }
    }

    fn pod_address(&self, key: &AddressKey) -> Option<u64> {
        replayed!(self, PodAddress, key).map(|value| value.netns.get())
    }

    fn workload(&self, key: &AddressKey) -> Option<&WorkloadValue> {
        replayed!(self, Workload, key)
    }

    fn policy(&self, key: &PolicyKey) -> Option<&PolicyValue> {
        replayed!(self, Policy, key)
    }

    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        replayed!(self, Service, key)
    }

    fn service_cidr(&self, key: &CidrKey) -> Option<&ServiceValue> {
        replayed!(self, ServiceCidr, key)
    }

    fn service_port(&self, key: &ServicePortKey) -> Option<&EndpointSetValue> {
        replayed!(self, ServicePort, key)
    }

    fn waypoint(&self, key: &WaypointKey) -> Option<&EndpointSetValue> {
        replayed!(self, Waypoint, key)
    }

    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool {
        match self.take() {
            Some(Met::WaypointMember(met, is_member)) if met == key => *is_member,
            _ => self.stray().unwrap_or_default(),
        }
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointValue> {
        replayed!(self, Endpoint, key)
    }

    fn in_mesh(&self, address: &Address) -> bool {
        match self.take() {
            Some(Met::InMesh(met, is_in)) if met == address => *is_in,
            _ => self.stray().unwrap_or_default(),
        }
    }

    /// What leads to the endpoints that were looked up.
    fn random(&self) -> u32 {
        let at = self.next.get();
        let before = at.checked_sub(1).and_then(|before| self.met.get(before));
        match (before, self.met.get(at)) {
            // Which one of a set.
            (
                Some(Met::ServicePort(_, Some(set)) | Met::Waypoint(_, Some(set))),
                Some(Met::Endpoint(key, _)),
            ) => {
                let (index, count) = (u64::from(key.index.get()), u64::from(set.count.get()));
                let drawn = (index << 32).div_ceil(count.max(1));
                u32::try_from(drawn).unwrap_or(u32::MAX)
            }
            // Its alias was looked up next.
            (_, Some(Met::Endpoint(..))) => u32::MAX,
            _ => 0,
        }
    }
}

/// The verdict that the look-ups lead to.
fn replay(explanation: &Explanation, netns: u64, to: SocketAddr) -> Result<Verdict> {
    let [Met::Pod(_, Some(pod)), met @ ..] = explanation.met.as_slice() else {
        anyhow::bail!("the pod was not looked up first: {explanation:?}");
    };
    let replay = Replay {
        met,
        next: Cell::new(0),
        strayed: Cell::new(false),
    };
    let flow = Flow {
        pod,
        netns,
        destination: to_wire(to.ip()),
        port: to.port(),
        is_dialling: true,
    };
    let verdict = classify(&flow, &replay);
    let is_whole = replay.next.get() == met.len() && !replay.strayed.get();
    ensure!(is_whole, "other look-ups than {explanation:?}");
    Ok(verdict)
}

/// Whether the maps held what was found.
fn is_in(tables: &Tables, met: &Met) -> bool {
    match met {
        Met::Settings(value) => value.flags == tables.settings.flags,
        Met::Pod(key, value) => tables.pods.get(key) == value.as_ref(),
        Met::PodAddress(key, value) => tables.pod_addresses.get(key) == value.as_ref(),
        Met::Workload(key, value) => tables.workloads.get(key) == value.as_ref(),
        Met::Policy(key, value) => tables.policies.get(key) == value.as_ref(),
        Met::Service(key, value) => tables.services.get(key) == value.as_ref(),
        Met::ServiceCidr(_, value) => value
            .as_ref()
            .is_none_or(|value| tables.service_cidrs.values().any(|it| it == value)),
        Met::ServicePort(key, value) => tables.service_ports.get(key) == value.as_ref(),
        Met::Waypoint(key, value) => tables.waypoints.get(key) == value.as_ref(),
        Met::WaypointMember(key, is) => tables.waypoint_members.contains_key(key) == *is,
        Met::Endpoint(key, value) => tables.endpoints.get(key) == value.as_ref(),
        Met::InMesh(..) => true,
    }
}

fn check(kernel: &Kernel, from: &str, to: SocketAddr) -> Result<usize> {
    let explanation = kernel.why(from, to)?;
    for met in &explanation.met {
        ensure!(is_in(kernel.tables(), met), "{from} to {to}: {met:?}");
    }
    let verdict = replay(&explanation, super::agreement::netns(from), to)
        .with_context(|| format!("{from} to {to}"))?;
    ensure!(
        verdict == explanation.verdict,
        "{from} to {to}: {verdict:?} of {explanation:?}"
    );
    Ok(explanation.met.len())
}

#[test]
fn the_entries_that_were_met_lead_to_the_verdict() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut numbers = Numbers::new(0x2545_f491_4f6c_dd1d);
    let (mut flows, mut longest) = (0, 0);
    for number in 0..12 {
        let mesh = if number == 0 {
            mesh()?
        } else {
            changed(&mut numbers)?
        };
        kernel.apply(&mesh, &node()?)?;
        for case in CASES {
            let (from, ..) = PODS[numbers.next() as usize % PODS.len()];
            for from in [case.from, from] {
                longest = longest.max(check(&kernel, from, case.to.parse()?)?);
                flows += 1;
            }
        }
    }
    // Pod, settings, workload, service, port, endpoint, alias.
    ensure!(flows > 500 && longest >= 7, "{flows} flows, {longest}");
    Ok(())
}
