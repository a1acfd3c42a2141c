//! Whatever the way, the tables are those of what istiod has in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use waysteer::address::{from_wire, to_wire};
use waysteer::compile::{TableLookup, Tables, compile};
use waysteer::model::Mesh;
use waysteer::source::xds::proto::authorization::{Authorization, Scope};
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryResponse, Resource};
use waysteer::source::xds::proto::workload::gateway_address::Destination;
use waysteer::source::xds::proto::workload::{
    GatewayAddress, LoadBalancing, NetworkAddress, Port, Service, Visibility, WeightedWaypoint,
    Workload, WorkloadStatus,
};
use waysteer_common::abi::pod::PodKey;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::Reason;

use super::listener::{Listener, node, options, pod};
use super::naive::{Naive, Outcome};
use super::protocol::greet;
use waysteer_tests::istiod::resources::{
    ADDRESS, AUTHORIZATION, in_service, ip, of_policy, of_service, of_workload, response, service,
    waypoint, workload,
};
use waysteer_tests::istiod::{Istiod, Session};

const HISTORIES: u64 = 24;
const STEPS: usize = 40;

/// Numbers from a seed (xorshift), so that a failure comes again.
struct Numbers(u64);

impl Numbers {
    fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as u32
    }

    fn below(&mut self, many: usize) -> usize {
        self.word() as usize % many
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// By name, or by the address of a service or a workload.
fn any_waypoint(numbers: &mut Numbers) -> GatewayAddress {
    let number = numbers.below(5) as u16;
    let mut made = waypoint(number);
    if numbers.one_in(4) {
        let address = match numbers.one_in(2) {
            true => ip(number),
            false => vec![10, 3, 0, number as u8],
        };
        made.destination = Some(Destination::Address(NetworkAddress {
            network: String::new(),
            address,
            length: None,
        }));
    }
    made
}

/// What istiod has, by type and name.
#[derive(Default)]
struct Control {
    resources: [BTreeMap<String, Resource>; 2],
    version: u64,
}

impl Control {
    fn any_workload(&mut self, numbers: &mut Numbers) -> Workload {
        let mut made = workload(numbers.below(12) as u16);
        for _ in 0..numbers.below(3) {
            made = in_service(made, numbers.below(5) as u16);
        }
        made.addresses = vec![ip(numbers.below(14) as u16)];
        made.tunnel_protocol = numbers.below(2) as i32;
        if numbers.one_in(8) {
            // Of tomorrow.
            made.tunnel_protocol = 17;
        }
        if numbers.one_in(3) {
            made.waypoint = Some(any_waypoint(numbers));
        }
        if numbers.one_in(5) {
            made.status = WorkloadStatus::Unhealthy.into();
        }
        if numbers.one_in(3) {
            made.node = "node1".into();
        }
        if numbers.one_in(4) {
            made.capacity = Some(numbers.below(4) as u32);
        }
        made
    }

    fn any_service(&mut self, numbers: &mut Numbers) -> Service {
        let mut made = service(numbers.below(5) as u16);
        if numbers.one_in(3) {
            made.waypoint = Some(any_waypoint(numbers));
        }
        if numbers.one_in(5) {
            let share = |numbers: &mut Numbers| WeightedWaypoint {
                destination: Some(any_waypoint(numbers)),
                weight: numbers.below(3) as u32,
            };
            made.weighted_waypoints = (0..=numbers.below(3)).map(|_| share(numbers)).collect();
        }
        made.canonical = numbers.one_in(2);
        // Any of them may be a waypoint.
        made.ports.push(Port {
            service_port: 15008,
            target_port: 15008,
        });
        if numbers.one_in(4) {
            made.namespace = "other".into();
        }
        if numbers.one_in(6) {
            made.visibility = Visibility::Namespace.into();
        }
        if numbers.one_in(3) {
            made.addresses = service(numbers.below(5) as u16).addresses;
        }
        for _ in 0..numbers.below(3) {
            // A block, now and then around others' addresses, or those of workloads.
            let high = [0, 3, 3, 3][numbers.below(4)];
            made.addresses.push(NetworkAddress {
                network: String::new(),
                address: vec![10, high, 0, numbers.below(10) as u8],
                length: Some([24, 28, 29, 30, 32][numbers.below(5)]),
            });
        }
        if numbers.one_in(3) {
            made.load_balancing = Some(LoadBalancing {
                mode: numbers.below(4) as i32,
                routing_preference: vec![1 + numbers.below(5) as i32],
                health_policy: numbers.below(2) as i32,
            });
        }
        made
    }

    /// A change, and what istiod says of it.
    fn step(&mut self, numbers: &mut Numbers) -> DeltaDiscoveryResponse {
        self.version += 1;
        let nonce = self.version.to_string();
        let kind = usize::from(numbers.one_in(6));
        let type_url = [ADDRESS, AUTHORIZATION][kind];
        let mut told = response(type_url, &nonce, Vec::new());
        for _ in 0..=numbers.below(4) {
            let names: Vec<String> = self.resources[kind].keys().cloned().collect();
            if numbers.one_in(4) && !names.is_empty() {
                let name = names[numbers.below(names.len())].clone();
                self.resources[kind].remove(&name);
                told.resources.retain(|resource| resource.name != name);
                told.removed_resources.push(name);
                continue;
            }
            let version = nonce.as_str();
            let made = if kind == 1 {
                let policy = Authorization {
                    name: format!("p{}", numbers.below(3)),
                    namespace: ["", "default", "other"][numbers.below(3)].into(),
                    scope: [Scope::Global, Scope::Namespace, Scope::WorkloadSelector]
                        [numbers.below(3)]
                    .into(),
                    ..Authorization::default()
                };
                of_policy(&policy, version)
            } else if numbers.one_in(2) {
                of_service(&self.any_service(numbers), version)
            } else {
                of_workload(&self.any_workload(numbers), version)
            };
            told.removed_resources.retain(|name| *name != made.name);
            self.resources[kind].insert(made.name.clone(), made.clone());
            told.resources.retain(|resource| resource.name != made.name);
            told.resources.push(made);
        }
        told
    }

    /// To a new connection: all of it, or what its versions lack.
    async fn catch_up(&self, session: &mut Session, numbers: &mut Numbers) -> Result<()> {
        let known = greet(session).await?;
        let whole = numbers.one_in(2);
        for (kind, known) in known.iter().enumerate() {
            let mut told = response([ADDRESS, AUTHORIZATION][kind], "again", Vec::new());
            for (name, resource) in &self.resources[kind] {
                if whole || known.get(name) != Some(&resource.version) {
                    told.resources.push(resource.clone());
                }
            }
            let gone = known
                .keys()
                .filter(|name| !self.resources[kind].contains_key(*name));
            told.removed_resources = gone.cloned().collect();
            let shift = numbers.below(told.resources.len().max(1));
            told.resources.rotate_left(shift);
            session.exchange(told).await?;
        }
        Ok(())
    }
}

async fn follow(seed: u64) -> Result<BTreeSet<&'static str>> {
    let numbers = &mut Numbers(seed);
    let mut control = Control::default();
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = server.accept().await?;
    control.catch_up(&mut session, numbers).await?;
    // Each takes twice as long as the one before: that is how a client waits.
    let mut cuts = 6;
    for _ in 0..STEPS {
        let told = control.step(numbers);
        if cuts > 0 && numbers.one_in(8) {
            cuts -= 1;
            // Not all of it is heard.
            if numbers.one_in(2) {
                let _ = session.send(told).await;
            }
            drop(session);
            session = server.accept().await?;
            control.catch_up(&mut session, numbers).await?;
        } else {
            // Now and then several are under way at once.
            let answer = session.exchange(told).await?;
            ensure!(answer.error_detail.is_none(), "seed {seed}: {answer:?}");
        }
        listener.drain_now();
    }
    drop(session);
    let mut session = server.accept().await?;
    control.catch_up(&mut session, numbers).await?;
    let expected = reference(&control).await?;
    listener
        .until("the end of the history", |l| *l.mesh() == expected)
        .await?;
    let tables = compile(&expected, &node(), &[pod()]).tables;
    ensure!(*listener.compiler.tables() == tables, "seed {seed}");
    let reasons = check(&control, &tables).with_context(|| format!("seed {seed}"))?;
    listener.stop().await?;
    Ok(reasons)
}

/// The tables say of every connection what istiod's resources say; in return with which reasons.
fn check(control: &Control, tables: &Tables) -> Result<BTreeSet<&'static str>> {
    let naive = Naive::new(&control.resources)?;
    let workloads = (0..15).map(|number| IpAddr::from([10, 0, 0, number]));
    let services = (0..10).map(|number| IpAddr::from([10, 3, 0, number]));
    let mut reasons = BTreeSet::new();
    let mut numbers = Numbers(1);
    for ip in workloads.chain(services) {
        for port in [80, 81, 15008] {
            let to = SocketAddr::new(ip, port);
            let expected = naive.outcomes(to);
            let mut missing: Vec<&Outcome> = expected.iter().collect();
            // Enough that each endpoint is drawn, none of which has a share below a 300th.
            let draws = if expected.len() > 1 { 4096 } else { 16 };
            for _ in 0..draws {
                let (outcome, reason) = verdict(tables, to, &mut numbers)?;
                let is_expected = |one: &&Outcome| {
                    let any = Outcome {
                        reason: one.reason.and(outcome.reason),
                        ..outcome.clone()
                    };
                    **one == any
                };
                ensure!(
                    expected.iter().any(|one| is_expected(&one)),
                    "{to}: {outcome:?} {reason:?} is none of {expected:?}"
                );
                missing.retain(|one| !is_expected(one));
                reasons.insert(reason.label());
            }
            ensure!(missing.is_empty(), "{to}: never {missing:?}");
        }
    }
    Ok(reasons)
}

fn verdict(tables: &Tables, to: SocketAddr, numbers: &mut Numbers) -> Result<(Outcome, Reason)> {
    let key = PodKey { netns: 1.into() };
    let flow = Flow {
        pod: tables.pods.get(&key).context("the pod")?,
        netns: 1,
        destination: to_wire(to.ip()),
        port: to.port(),
        is_dialling: true,
    };
    let numbers = std::cell::RefCell::new(numbers);
    let lookup = TableLookup {
        tables,
        random: || numbers.borrow_mut().word(),
    };
    let verdict = classify(&flow, &lookup);
    let hop = &verdict.next_hop;
    let at = SocketAddr::new(from_wire(hop.address), hop.port);
    let outcome = Outcome {
        class: verdict.class,
        reason: Some(verdict.reason),
        steered: verdict.steer,
        next_hop: (hop.port != 0).then_some((at, hop.hbone)),
    };
    Ok((outcome, verdict.reason))
}

/// The same, told once and in order to somebody who knows nothing.
async fn reference(control: &Control) -> Result<Mesh> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = server.accept().await?;
    greet(&mut session).await?;
    for (kind, all) in control.resources.iter().enumerate() {
        let all = all.values().cloned().collect();
        session
            .exchange(response([ADDRESS, AUTHORIZATION][kind], "all", all))
            .await?;
    }
    listener
        .until("the reference", |l| l.mesh().complete)
        .await?;
    let mesh = listener.mesh().clone();
    listener.stop().await?;
    Ok(mesh)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_history_leads_to_what_istiod_has() -> Result<()> {
    // All at once: most of the time each waits for its next attempt to connect.
    let mut histories = tokio::task::JoinSet::new();
    for seed in 1..=HISTORIES {
        histories.spawn(follow(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    let mut reasons = BTreeSet::new();
    while let Some(history) = histories.join_next().await {
        reasons.extend(history??);
    }
    // The histories come to something.
    for reason in [
        "ServiceWaypoint",
        "WorkloadWaypoint",
        "WaypointUnresolved",
        "ServiceHbone",
        "ServicePassthrough",
        "ServicePlain",
        "EndpointUnresolved",
    ] {
        ensure!(reasons.contains(reason), "{reason} in {reasons:?}");
    }
    ensure!(reasons.len() >= 10, "{reasons:?}");
    Ok(())
}
