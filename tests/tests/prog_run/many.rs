//! No limits on ports and services, and nothing is told from a name or a well-known port.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer::model::Mesh;
use waysteer::source::file::{FileState, parse_mesh};
use waysteer_common::verdict::{Class, Reason};

use super::agreement::{Kernel, node, text};

const PORTS: u16 = 60;
const SERVICES: u16 = 40;

fn parse(text: &str) -> Result<Mesh> {
    let parsed = parse_mesh(text, "mesh.yaml").map_err(|error| anyhow::anyhow!("{error:?}"))?;
    ensure!(parsed.rejected.is_empty(), "{:?}", parsed.diagnostics);
    let mut mesh = Mesh::default();
    let mut delta = FileState::default().next(parsed);
    delta.complete = true;
    mesh.apply(delta);
    Ok(mesh)
}

/// `client`, `server` with both families on another node, and the services that it is in.
fn workloads(services: &[String]) -> String {
    let services: Vec<_> = services
        .iter()
        .map(|name| format!("\"default/{name}.example\": {{}}"))
        .collect();
    format!(
        "workloads:\n\
         - {{uid: a, name: client, namespace: default, serviceAccount: client, node: node1, \
         protocol: HBONE, workloadIps: [10.1.0.1, \"fd00:1::1\"]}}\n\
         - {{uid: b, name: server, namespace: default, serviceAccount: server, node: node2, \
         protocol: HBONE, workloadIps: [10.2.0.1, \"fd00:2::1\"], services: {{{}}}}}\n",
        services.join(", ")
    )
}

fn service(name: &str, number: u16, ports: &str) -> String {
    format!(
        "- {{name: {name}, namespace: default, hostname: {name}.example, \
         vips: [\"/10.3.0.{number}\", \"/fd00:3::{number:x}\"], ports: {{{ports}}}}}\n"
    )
}

fn vips(number: u16, port: u16) -> Result<[SocketAddr; 2]> {
    Ok([
        format!("10.3.0.{number}:{port}").parse()?,
        format!("[fd00:3::{number:x}]:{port}").parse()?,
    ])
}

/// Of a service that leads to `server`.
fn check(kernel: &Kernel, number: u16, port: u16, target: u16) -> Result<()> {
    let hosts = ["10.2.0.1", "[fd00:2::1]"];
    for (to, host) in vips(number, port)?.into_iter().zip(hosts) {
        let verdict = kernel.explain("client", to)?;
        let hop = verdict.next_hop;
        let found = (verdict.class, verdict.reason, verdict.steer);
        let expected = (Class::Direct, Reason::ServiceHbone, true);
        ensure!(found == expected, "{to}: {verdict:?}");
        let (hop, authority) = (
            text(hop.address, hop.port),
            text(hop.authority, hop.authority_port),
        );
        ensure!(hop == format!("{host}:15008"), "{to}: {hop}");
        ensure!(authority == format!("{host}:{target}"), "{to}: {authority}");
    }
    Ok(())
}

#[test]
fn sixty_ports_and_forty_services() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let names: Vec<_> = (1..=SERVICES).map(|number| format!("s{number}")).collect();
    let mut mesh = workloads(&names) + "services:\n";
    let ports = (0..PORTS).map(|port| format!("{}: {}", 1000 + port, 2000 + port));
    let ports = ports.collect::<Vec<_>>().join(", ");
    for (name, number) in names.iter().zip(1..) {
        mesh.write_str(&service(name, number, &ports))?;
    }
    kernel.apply(&parse(&mesh)?, &node()?)?;
    for number in 1..=SERVICES {
        for port in 0..PORTS {
            check(&kernel, number, 1000 + port, 2000 + port)?;
        }
        let [undefined, _] = vips(number, 1000 + PORTS)?;
        let verdict = kernel.explain("client", undefined)?;
        ensure!(
            verdict.reason == Reason::NoPort && verdict.steer,
            "{verdict:?}"
        );
    }
    Ok(())
}

#[test]
fn a_service_called_waypoint_is_like_any_other() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let names = ["waypoint", "istio-waypoint", "ztunnel"].map(str::to_owned);
    let ports = [15021, 15008, 15001, 15006, 15053, 53];
    let list = ports.map(|port| format!("{port}: {port}")).join(", ");
    let mut mesh = workloads(&names) + "services:\n";
    for (name, number) in names.iter().zip(1..) {
        mesh.write_str(&service(name, number, &list))?;
    }
    kernel.apply(&parse(&mesh)?, &node()?)?;
    for number in 1..=names.len() as u16 {
        for port in ports {
            check(&kernel, number, port, port)?;
        }
    }
    Ok(())
}
