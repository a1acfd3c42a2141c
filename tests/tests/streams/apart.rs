//! What each pod sent where is counted apart: past the tunnel to a pod, to a service and to
//! strangers, and into it.

mod named;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer::compile::{service_id, workload_id};
use waysteer::kernel::contents::Contents;
use waysteer::kernel::observe::{PodTrafficEntries, Traffic};
use waysteer::model::{NamespacedName, Uid};
use waysteer_common::abi::key::TrafficKey;
use waysteer_common::verdict::Class;
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::service_addresses;
use waysteer_tests::wait::wait_until;

use super::counted::{Leave, exchange_bytes};

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 8080;
/// Services that nobody of this bed has; the host outside answers for them.
const OLD: u8 = 40;
const HEADLESS: u8 = 41;

/// A way from a pod, and how it is counted.
#[derive(Debug, Clone, Copy)]
struct Way {
    to: SocketAddr,
    destination: u64,
    class: Class,
    flags: u8,
}

fn workload(name: &str) -> u64 {
    workload_id(&Uid(format!("cluster1//Pod/default/{name}").into()))
}

fn service(name: &str) -> u64 {
    service_id(&NamespacedName {
        namespace: "default".into(),
        name: format!("{name}.default.svc.cluster.local").into(),
    })
}

fn ip(netns: &NetNs, arguments: &str) -> Result<()> {
    let mut command = netns.command("ip");
    let output = command.args(arguments.split(' ')).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {errors}");
    Ok(())
}

/// The bed, with a service of plain endpoints only and one that nobody is to balance, and servers
/// wherever a way leads.
struct Scene {
    bed: Bed,
    _servers: Vec<Server>,
}

impl Scene {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let bed = Bed::new(&Options {
            start_agent: false,
            ..options.clone()
        })?;
        let mut scene = Self {
            bed,
            _servers: Vec::new(),
        };
        scene.add_services()?;
        scene.write_pods(&["client", "server", "other"])?;
        scene.bed.start_agent()?;
        scene.bed.wait_until_ready()?;
        let bed = &scene.bed;
        let start = |netns, name| Server::start(netns, name, PORT, Service::Echo);
        scene._servers = vec![
            start(&bed.topology.external.netns, "external")?,
            start(&bed.pod("far-plain").netns, "far-plain")?,
            start(&bed.pod("far").netns, "far")?,
            start(&bed.pod("server").netns, "server")?,
        ];
        Ok(scene)
    }

    fn add_services(&self) -> Result<()> {
        let bed = &self.bed;
        let mut mesh = bed.mesh();
        let entry = |name: &str, number: u8, more: &str| {
            let [v4, v6] = service_addresses(number).both();
            format!(
                "- {{name: {name}, namespace: default, hostname: {name}.default.svc.cluster.local, \
                 vips: [\"/{v4}\", \"/{v6}\"], ports: {{{PORT}: {PORT}}}{more}}}\n"
            )
        };
        mesh += &entry("old", OLD, "");
        mesh += &entry("headless", HEADLESS, ", loadBalancer: {mode: Passthrough}");
        let own = "name: far-plain, namespace: default";
        let at = mesh.find(own).context("far-plain")?;
        let services = mesh[at..].find("services: {").context("its services")?;
        mesh.insert_str(
            at + services + "services: {".len(),
            "\"default/old.default.svc.cluster.local\": {}",
        );
        // Two pods of one deployment, which are one to metrics.
        for pod in ["client", "other"] {
            let own = format!("name: {pod}, namespace: default, serviceAccount: {pod}");
            ensure!(mesh.contains(&own), "{mesh}");
            let account = "workloadName: shoppers, serviceAccount: client";
            mesh = mesh.replace(&own, &format!("name: {pod}, namespace: default, {account}"));
        }
        bed.write_mesh(&mesh)?;
        let external = &bed.topology.external;
        for number in [OLD, HEADLESS] {
            for vip in service_addresses(number).both() {
                let via = external.addresses.like(vip);
                ip(&external.netns, &format!("addr add {vip} dev lo"))?;
                ip(
                    &bed.topology.node.netns,
                    &format!("route add {vip} via {via}"),
                )?;
            }
        }
        Ok(())
    }

    /// As the mesh has them: two of them have one service account.
    fn write_pods(&self, pods: &[&str]) -> Result<()> {
        let mut text = String::new();
        for name in pods {
            let account = if *name == "other" { "client" } else { name };
            let netns = self.bed.pod(name).netns.path();
            writeln!(
                text,
                "- {{uid: {name}, name: {name}, namespace: default, serviceAccount: {account}, \
                 netns: {}}}",
                netns.display()
            )?;
        }
        let new = self.bed.scratch.write("pods.yaml.new", text)?;
        Ok(std::fs::rename(
            new,
            self.bed.scratch.path().join("pods.yaml"),
        )?)
    }

    /// All the ways past the tunnel, and one into it.
    fn ways(&self, v6: bool) -> [Way; 6] {
        let bed = &self.bed;
        let way = |address: IpAddr, destination, class, flags| Way {
            to: SocketAddr::new(address, PORT),
            destination,
            class,
            flags,
        };
        let vip = |number| Bed::service(number, v6).ip();
        let [v4, external_v6] = bed.topology.external.addresses.both();
        let of_service = TrafficKey::SERVICE;
        [
            way(
                bed.address("far-plain", v6),
                workload("far-plain"),
                Class::Direct,
                0,
            ),
            way(
                bed.address("server", v6),
                workload("server"),
                Class::DirectLocal,
                0,
            ),
            way(vip(OLD), service("old"), Class::Direct, of_service),
            way(
                vip(HEADLESS),
                service("headless"),
                Class::Passthrough,
                of_service,
            ),
            way(if v6 { external_v6 } else { v4 }, 0, Class::Passthrough, 0),
            Way {
                to: Bed::service(bed::WEB, v6),
                destination: service("web"),
                class: Class::Direct,
                flags: TrafficKey::STEER | of_service,
            },
        ]
    }

    fn entries(&self) -> Result<PodTrafficEntries> {
        Ok(Contents::open(self.bed.pins.path())?.pod_traffic()?)
    }

    fn key(&self, pod: &str, way: &Way) -> Result<TrafficKey> {
        Ok(TrafficKey {
            source: self.bed.pod(pod).netns.cookie()?.into(),
            destination: way.destination.into(),
            class: way.class.number(),
            flags: way.flags,
            padding: [0; 6],
        })
    }

    fn exchange(&self, pod: &str, way: &Way, bytes: u64) -> Result<()> {
        let dial = Dial::new().timeout(PATIENCE);
        let connection = dial.connect(&self.bed.pod(pod).netns, way.to);
        let connection = connection.with_context(|| format!("{pod}, {way:?}"))?;
        exchange_bytes(connection, Leave::First, bytes).with_context(|| format!("{pod}, {way:?}"))
    }

    /// Waits until so many connections have ended, all pods and the rest taken together.
    fn wait_until_closed(&self, count: u64) -> Result<()> {
        wait_until(PATIENCE, "the connections are counted", || {
            let closed = self.bed.metric("waysteer_connections_closed", &[]);
            closed.is_ok_and(|closed| closed == count)
        })
    }
}

fn counts(traffic: &Traffic) -> [u64; 4] {
    let Traffic {
        opened,
        closed,
        bytes_sent,
        bytes_received,
        duration_ns: _,
    } = *traffic;
    [opened, closed, bytes_sent, bytes_received]
}

/// What a page says of the client, steered or not.
fn paths_of_client(bed: &Bed, page: &str) -> Result<BTreeMap<bool, [u64; 4]>> {
    let (_, body) = admin::get(&bed.socket(), page)?;
    let page: Value = serde_json::from_str(&body)?;
    let pods = page["pods"].as_array().context("pods")?;
    let is_client = |pod: &&Value| pod["name"] == "client" || pod["pod"] == "default/client";
    let pod = pods.iter().find(is_client).context("the client")?;
    let mut paths = BTreeMap::new();
    for counted in pod["traffic"].as_array().context("its traffic")? {
        let is_steered = counted["steered"].as_bool().context("a path")?;
        let names = ["opened", "closed", "sent_bytes", "received_bytes"];
        let sums = paths.entry(is_steered).or_insert([0; 4]);
        for (sum, name) in sums.iter_mut().zip(names) {
            *sum += counted[name].as_u64().context(name)?;
        }
    }
    Ok(paths)
}

#[test]
fn each_pod_and_destination_is_counted_apart_and_exactly() -> Result<()> {
    let mut scene = Scene::new(&Options::default())?;
    let mut expected = Vec::new();
    for (number, pod) in ["client", "other"].into_iter().enumerate() {
        let [v4, v6] = [false, true].map(|v6| scene.ways(v6));
        for (index, (v4, v6)) in v4.iter().zip(&v6).enumerate() {
            let bytes = 1_000 * (1 + number as u64) + 10 * index as u64;
            scene.exchange(pod, v4, bytes)?;
            scene.exchange(pod, v6, bytes + 1)?;
            let sum = 2 * bytes + 1;
            expected.push((scene.key(pod, v4)?, [2, 2, sum, sum]));
        }
    }
    scene.wait_until_closed(2 * expected.len() as u64)?;
    let check = |scene: &Scene| -> Result<()> {
        let entries = scene.entries()?;
        ensure!(entries.len() == expected.len(), "{entries:?}");
        for (key, wanted) in &expected {
            let found = entries.get(key).with_context(|| format!("{key:?}"))?;
            ensure!(counts(found) == *wanted, "{key:?}: {found:?}, {wanted:?}");
            ensure!(found.duration_ns > 0, "{key:?}: {found:?}");
        }
        Ok(())
    };
    check(&scene)?;
    for page in ["/status", "/debug/top"] {
        let said = paths_of_client(&scene.bed, page)?;
        // The first pod's, in the order of the ways: the last goes into the tunnel.
        let mut wanted = BTreeMap::new();
        for (key, counts) in expected.iter().take(6) {
            let is_steered = key.flags & TrafficKey::STEER != 0;
            let sums = wanted.entry(is_steered).or_insert([0; 4]);
            let both = sums.iter_mut().zip(counts);
            both.for_each(|(sum, count)| *sum += count);
        }
        ensure!(said == wanted, "{page}: {said:?}, {wanted:?}");
    }
    // The next agent goes on with them.
    scene.bed.kill_agent()?;
    check(&scene)?;
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    check(&scene)
}

#[test]
fn what_has_no_room_is_counted_with_the_others() -> Result<()> {
    let scene = Scene::new(&Options {
        extra: "traffic = {entries = 2}\n".to_owned(),
        ..Options::default()
    })?;
    let ways = scene.ways(false);
    for (index, way) in ways.iter().enumerate() {
        scene.exchange("client", way, 500 + index as u64)?;
    }
    scene.wait_until_closed(ways.len() as u64)?;
    let entries = scene.entries()?;
    ensure!(entries.len() == 2, "{entries:?}");
    let mut sums = [0; 4];
    let mut add = |traffic: &Traffic| {
        for (sum, count) in sums.iter_mut().zip(counts(traffic)) {
            *sum += count;
        }
    };
    entries.values().for_each(&mut add);
    let other = Contents::open(scene.bed.pins.path())?.counters()?;
    let other = other.other_traffic()?;
    for ((class, is_steered), traffic) in &other {
        let ways = ways.iter().skip(2);
        let like =
            |way: &&Way| way.class == *class && (way.flags & TrafficKey::STEER != 0) == *is_steered;
        let count = ways.filter(like).count() as u64;
        ensure!(traffic.opened == count, "{class:?}: {traffic:?}, {count}");
    }
    other.values().for_each(&mut add);
    let count = ways.len() as u64;
    let bytes: u64 = (0..count).map(|index| 500 + index).sum();
    ensure!(sums == [count, count, bytes, bytes], "{sums:?}");
    Ok(())
}
