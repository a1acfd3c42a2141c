//! `waysteer explain`: what it says is what connections get, on meshes drawn at random.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::admin::{self, Flow};
use waysteer_tests::bed::{self, Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::service_addresses;
use waysteer_tests::wait::wait_for;

use super::waysteer;

const PATIENCE: Duration = Duration::from_secs(30);
const MESHES: u64 = 4;
const SERVICES: u64 = 12;
/// A service of this number tells which mesh the agent has.
const MARKER: u8 = 40;
/// How often one asks where endpoints are drawn: each of a few is then met.
const DRAWS: usize = 200;

/// Numbers from a seed (xorshift), so that a failure comes again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

/// A mesh over the bed's pods.
fn drawn(bed: &Bed, numbers: &mut Numbers, number: u64) -> Result<String> {
    let service = |number: u64| format!("default/s{number}.default.svc.cluster.local");
    let gateway = |number: u64| {
        format!(
            ", waypoint: {{destination: \"{}\", hboneMtlsPort: 15008}}",
            service(number)
        )
    };
    let mut text = String::from("workloads:\n");
    for pod in bed.topology.pods() {
        let name = &pod.name;
        let [v4, v6] = pod.addresses.both();
        let protocol = if numbers.one_in(3) { "TCP" } else { "HBONE" };
        let node = if numbers.one_in(2) { "node1" } else { "node2" };
        let of: Vec<String> = (0..SERVICES)
            .filter(|_| numbers.one_in(4))
            .map(|number| format!("\"{}\": {{80: 8080}}", service(number)))
            .collect();
        write!(
            text,
            "- {{uid: \"cluster1//Pod/default/{name}\", name: {name}, namespace: default, \
             serviceAccount: {name}, trustDomain: cluster.local, node: {node}, \
             protocol: {protocol}, workloadIps: [\"{v4}\", \"{v6}\"], services: {{{}}}",
            of.join(", ")
        )?;
        if numbers.one_in(4) {
            let through = numbers.next() % SERVICES;
            text += &gateway(through);
        }
        if numbers.one_in(8) {
            text += ", status: Unhealthy";
        }
        text += "}\n";
    }
    text += "services:\n";
    for number in 0..SERVICES {
        let [v4, v6] = service_addresses(u8::try_from(60 + number)?).both();
        write!(
            text,
            "- {{name: s{number}, namespace: default, \
             hostname: s{number}.default.svc.cluster.local, vips: [\"/{v4}\", \"/{v6}\"], \
             ports: {{80: 8080, 15008: 15008}}"
        )?;
        if numbers.one_in(4) {
            // Sometimes one that does not exist.
            let through = numbers.next() % (SERVICES + 2);
            text += &gateway(through);
        }
        if numbers.one_in(6) {
            text += ", loadBalancer: {routingPreferences: [], mode: Passthrough, \
                     healthPolicy: OnlyHealthy}";
        }
        text += "}\n";
    }
    let [v4, _] = service_addresses(MARKER).both();
    writeln!(
        text,
        "- {{name: mesh{number}, namespace: default, hostname: mesh{number}.default, \
         vips: [\"/{v4}\"], ports: {{80: 80}}}}"
    )?;
    Ok(text)
}

/// What the agent answers.
fn ask(bed: &Bed, pod: &str, to: SocketAddr) -> Result<Value> {
    let to = to.to_string().replace('[', "%5B").replace(']', "%5D");
    let page = format!("/explain?pod=default/{pod}&destination={to}");
    let (status, body) = admin::get(&bed.socket(), &page)?;
    ensure!(status == 200, "{page}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn same(explained: &Value, flow: &Flow) -> bool {
    explained["class"] == flow.class.as_str()
        && explained["reason"] == flow.reason.as_str()
        && explained["steered"] == flow.steered
        && explained["service"].as_str() == flow.service.as_deref()
        && explained["next_hop"].as_str() == flow.next_hop.as_deref()
}

/// Dials, and waits for what the kernel has said of it.
fn dialled(bed: &Bed, pod: &str, to: SocketAddr) -> Result<Flow> {
    let mark = bed.mark()?;
    let socket = bed.socket();
    // Whether anybody answers is nobody's question here.
    let dial = Dial::new().nonblocking().timeout(Duration::from_millis(1));
    let _ = dial.connect(&bed.pod(pod).netns, to);
    wait_for(PATIENCE, &format!("a verdict on {pod} to {to}"), || {
        let flows = admin::flows(&socket, mark).ok()?;
        flows
            .into_iter()
            .find(|flow| flow.destination == to.to_string() && flow.pod == format!("default/{pod}"))
    })
}

#[test]
fn connections_get_what_was_explained() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let mut numbers = Numbers(0x853c_49e6_748f_ea9b);
    let (mut pairs, mut reasons) = (0, std::collections::BTreeSet::new());
    for number in 0..MESHES {
        bed.write_mesh(&drawn(&bed, &mut numbers, number)?)?;
        let marker = SocketAddr::new(service_addresses(MARKER).both()[0], 80);
        let name = format!("default/mesh{number}.default");
        wait_for(PATIENCE, &format!("the agent has mesh {number}"), || {
            (ask(&bed, "client", marker).ok()?["service"] == name.as_str()).then_some(())
        })?;
        let mut destinations = vec!["203.0.113.77:443".parse()?, "[2001:db8::77]:443".parse()?];
        for v6 in [false, true] {
            for pod in bed.topology.pods() {
                let ip = pod.addresses.both()[usize::from(v6)];
                destinations.push(SocketAddr::new(ip, 8080));
            }
            for number in 0..SERVICES {
                let port = if numbers.one_in(8) { 81 } else { 80 };
                let ips = service_addresses(u8::try_from(60 + number)?).both();
                destinations.push(SocketAddr::new(ips[usize::from(v6)], port));
            }
        }
        for pod in ["client", "server", "other"] {
            for to in &destinations {
                let flow = dialled(&bed, pod, *to)?;
                let mut answers = (0..DRAWS).map(|_| ask(&bed, pod, *to));
                let first = answers.next().context("an answer")??;
                let mut agrees = same(&first, &flow);
                // Another endpoint may have been drawn.
                while let Some(answer) = answers.next().filter(|_| !agrees) {
                    agrees = same(&answer?, &flow);
                }
                ensure!(agrees, "mesh {number}, {pod} to {to}: {flow:?}, {first}");
                pairs += 1;
                reasons.insert(flow.reason);
            }
        }
    }
    ensure!(
        pairs > 400 && reasons.len() >= 10,
        "{pairs} pairs, {reasons:?}"
    );
    Ok(())
}

#[test]
fn names_ports_and_open_connections() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let web = Bed::service(bed::WEB, false);
    for name in [
        "web",
        "web.default",
        "web.default.svc.cluster.local:80",
        "default/web.default.svc.cluster.local",
        &web.ip().to_string(),
        &web.to_string(),
    ] {
        let said = waysteer(&bed, &["explain", "client", name])?;
        ensure!(said.status == Some(0), "{name}: {said:?}");
        ensure!(
            said.row("reason")?.ends_with("ServiceHbone"),
            "{name}: {said:?}"
        );
        ensure!(said.row("row")?.contains("6 of"), "{name}: {said:?}");
        ensure!(
            said.row("destination")?.contains(&web.to_string()),
            "{name}: {said:?}"
        );
    }
    // In order, as the classifier goes.
    let said = waysteer(&bed, &["explain", "default/client", "web", "-o", "json"])?;
    let json = said.json()?;
    let met = json["met"].as_array().context("what was met")?;
    let maps: Vec<&str> = met.iter().filter_map(|met| met["map"].as_str()).collect();
    let expected = [
        "PODS",
        "SETTINGS",
        "WORKLOADS",
        "SERVICES",
        "SERVICE_PORTS",
        "ENDPOINTS",
    ];
    ensure!(maps == expected, "{maps:?}");
    let entry = met.last().context("an endpoint")?["entry"].to_string();
    ensure!(
        entry.contains("default/far") && entry.contains("port 8080"),
        "{entry}"
    );
    let said = waysteer(&bed, &["explain", "client", "default/far"])?;
    ensure!(said.row("reason")?.ends_with("WorkloadHbone"), "{said:?}");

    let _server = Server::start(&bed.pod("far").netns, "far", 8080, Service::Echo)?;
    let open = Dial::new().connect(&bed.pod("client").netns, web)?;
    let port = open.local.port().to_string();
    let asked = ["explain", "client", "web", "--from-port"];
    let said = waysteer(&bed, &[&asked[..], &[&port]].concat())?;
    ensure!(said.row("connection")?.contains("what it got"), "{said:?}");
    let said = waysteer(&bed, &[&asked[..], &["1"]].concat())?;
    ensure!(
        said.row("connection")?.contains("none is remembered"),
        "{said:?}"
    );
    // One that goes past the tunnel.
    let plain = SocketAddr::new(bed.address("far-plain", false), 8080);
    let _plain = Server::start(
        &bed.pod("far-plain").netns,
        "far-plain",
        8080,
        Service::Echo,
    )?;
    let open = Dial::new().connect(&bed.pod("client").netns, plain)?;
    let (port, plain) = (open.local.port().to_string(), plain.to_string());
    let said = waysteer(&bed, &["explain", "client", &plain, "--from-port", &port])?;
    ensure!(said.row("connection")?.contains("what it got"), "{said:?}");
    ensure!(said.row("reason")?.ends_with("WorkloadPlain"), "{said:?}");

    for (arguments, says) in [
        (
            ["client", "nobody.default"],
            "no service or workload is called",
        ),
        (["client", "shop.default"], "add :PORT, one of 80, 2525"),
        (["client", "web:x"], "is no port"),
        (["nobody", "web"], "default/client"),
    ] {
        let said = waysteer(&bed, &[&["explain"], &arguments[..]].concat())?;
        ensure!(said.status == Some(1), "{arguments:?}: {said:?}");
        ensure!(said.errors.contains(says), "{arguments:?}: {said:?}");
    }
    Ok(())
}

#[test]
fn without_an_agent_what_it_has_left_is_run() -> Result<()> {
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    let web = Bed::service(bed::WEB, true).to_string();
    let before = ask(&bed, "client", web.parse()?)?;
    bed.kill_agent()?;
    let said = waysteer(&bed, &["explain", "client", &web, "-o", "json"])?;
    ensure!(said.errors.contains("no agent answers"), "{said:?}");
    let json = said.json()?;
    for field in ["pod", "class", "reason", "steered", "next_hop"] {
        ensure!(json[field] == before[field], "{field}: {json}, {before}");
    }
    ensure!(
        json["met"].as_array().is_some_and(|met| met.len() == 6),
        "{json}"
    );
    for (arguments, says) in [
        (["client", "web"], "names are not known without an agent"),
        (["nobody", &web], "default/client"),
    ] {
        let said = waysteer(&bed, &[&["explain"], &arguments[..]].concat())?;
        ensure!(said.status == Some(1), "{said:?}");
        ensure!(said.errors.contains(says), "{said:?}");
    }
    Ok(())
}
