//! Envoy as a waypoint, configured as Istio configures it.
//!
//! ```text
//! HBONE ─► connect_terminate :15008 ─► main_internal ─► originate-N ─► HBONE to endpoint N
//!          mTLS, CONNECT               by authority:     CONNECT, mTLS,
//!                                      HTTP or TCP       expected identity
//! ```
//!
//! Between the steps are Envoy's internal listeners, so nothing is in the clear on a wire.

mod clusters;
mod listeners;
mod tls;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use waysteer_hbone::HBONE_PORT;
use waysteer_hbone::certs::Files;
use waysteer_hbone::identity::SpiffeId;

use crate::dial::connect_from;
use crate::netns::NetNs;
use crate::process::{Process, Scratch};

/// What requests and answers carry that went through the HTTP side: `x-via: envoy-waypoint`.
pub const VIA: (&str, &str) = ("x-via", "envoy-waypoint");

const START: Duration = Duration::from_secs(10);

/// What a waypoint serves, and as whom.
#[derive(Debug, Clone)]
pub struct Waypoint {
    pub certificates: Files,
    pub targets: Vec<Target>,
}

/// One original destination: a service's address and port, or a workload's. Others are refused
/// with 404.
#[derive(Debug, Clone)]
pub struct Target {
    pub authority: SocketAddr,
    pub protocol: Protocol,
    /// Where it leads; a workload-addressed target has itself as its only endpoint.
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Requests are routed one by one; they get [`VIA`] and `x-forwarded-for` with the client's
    /// address.
    Http,
    /// Bytes are carried as they are; the server may speak first.
    Tcp,
}

/// A workload's address and application port, reached over HBONE at its port 15008.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Who must answer there.
    pub identity: SpiffeId,
}

/// The Envoy that `cargo xtask setup --with-tests` has installed, or that `WAYSTEER_ENVOY` names.
pub fn find() -> Option<PathBuf> {
    let installed = || {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/tools/envoy/envoy/_bin/envoy"
        )
        .into()
    };
    let path = std::env::var_os("WAYSTEER_ENVOY").map_or_else(installed, PathBuf::from);
    path.exists().then_some(path)
}

/// Starts a waypoint in a namespace and waits until it accepts, on every address, v4 and v6.
pub fn start(netns: &NetNs, name: &str, waypoint: &Waypoint, scratch: &Scratch) -> Result<Process> {
    let envoy = find().context("no Envoy; run `cargo xtask setup --with-tests`")?;
    let text = serde_json::to_string_pretty(&configuration(waypoint))?;
    let file = scratch.write(&format!("{name}.json"), text)?;
    let mut command = netns.command(envoy);
    command
        .arg("-c")
        .arg(file)
        .args(["--concurrency", "1", "--log-level", "warning"])
        // With it, Envoy shares memory with its predecessor, and dies with its starter.
        .arg("--disable-hot-restart");
    let mut process = Process::start(name, command, scratch)?;
    let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), HBONE_PORT);
    process.wait_until(START, &format!("{name} accepts HBONE"), |_| {
        connect_from(netns, address, Duration::from_secs(1)).is_ok()
    })?;
    Ok(process)
}

/// Envoy's bootstrap configuration.
pub fn configuration(waypoint: &Waypoint) -> Value {
    json!({
        "bootstrap_extensions": [extension(
            "envoy.bootstrap.internal_listener",
            "bootstrap.internal_listener.v3.InternalListener",
            json!({}),
        )],
        "static_resources": {
            "listeners": listeners::all(waypoint),
            "clusters": clusters::all(waypoint),
        },
    })
}

/// Every endpoint with its number, which its listener and cluster are named by.
fn endpoints(waypoint: &Waypoint) -> impl Iterator<Item = (String, &Endpoint)> {
    waypoint
        .targets
        .iter()
        .enumerate()
        .flat_map(|(target, served)| {
            let endpoints = served.endpoints.iter().enumerate();
            endpoints.map(move |(number, endpoint)| (format!("{target}-{number}"), endpoint))
        })
}

/// A named extension with its typed configuration.
fn extension(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
    json!({ "name": name, "typed_config": configuration })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    } })
}

#[cfg(test)]
mod tests {
    use waysteer_hbone::certs::Files;

    use super::*;
    use crate::pki::identity;

    #[test]
    fn every_endpoint_has_its_listener_and_cluster() {
        let endpoint = |address: &str| Endpoint {
            address: address.parse().expect("an address"),
            identity: identity("demo", "server"),
        };
        let target = |authority: &str, endpoints| Target {
            authority: authority.parse().expect("an address"),
            protocol: Protocol::Http,
            endpoints,
        };
        let waypoint = Waypoint {
            certificates: Files {
                certificate: "a.pem".into(),
                key: "a.key".into(),
                roots: "ca.pem".into(),
            },
            targets: vec![
                target(
                    "10.96.0.1:80",
                    vec![endpoint("10.1.1.1:8080"), endpoint("10.1.1.2:8080")],
                ),
                target("[fd00::1]:80", vec![endpoint("[fd00::2]:8080")]),
            ],
        };
        let text = configuration(&waypoint).to_string();
        for name in ["0-0", "0-1", "1-0"] {
            assert!(text.contains(&format!("\"originate-{name}\"")), "{name}");
            assert!(text.contains(&format!("\"hbone-{name}\"")), "{name}");
        }
        assert!(text.contains("[fd00::1]:80"));
    }
}
