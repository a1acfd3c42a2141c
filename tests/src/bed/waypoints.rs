//! The waypoints of the bed.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use super::{Bed, PATIENCE, SHOP, TCP_PORT};
use crate::envoy::{self, Endpoint, Protocol, Target, Waypoint};
use crate::pki::{Pki, identity};
use crate::process::{Process, binary};
use crate::topology::service_addresses;

/// What serves as waypoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waypoints {
    /// `hbone-peer`: each carries whatever comes to one workload's IPv4 address.
    Peers,
    /// Envoy: HTTP, and TCP on [`TCP_PORT`], to the workload's address of the same family.
    Envoy,
}

impl Bed {
    /// Both, and waits until they accept.
    pub(super) fn start_waypoints(&mut self, kind: Waypoints) -> Result<()> {
        match kind {
            Waypoints::Peers => self.start_peers(),
            Waypoints::Envoy => self.start_envoys(),
        }
    }

    fn start_envoys(&mut self) -> Result<()> {
        let pki = Pki::at(&self.ca())?;
        let shop = service_addresses(SHOP).both();
        let far = self.pod("far").addresses.both();
        let behind = self.pod("behind").addresses.both();
        for (waypoint, account, authorities, addresses, http_port) in [
            ("waypoint", "far", shop, far, 80),
            ("gate", "behind", behind, behind, 8080),
        ] {
            let ways = authorities.into_iter().zip(addresses);
            let targets = ways.flat_map(|(authority, address)| {
                [(http_port, Protocol::Http), (TCP_PORT, Protocol::Tcp)]
                    .map(|(port, protocol)| target(authority, address, port, protocol, account))
            });
            let configuration = Waypoint {
                certificates: pki.issue(&identity("default", waypoint))?,
                targets: targets.collect(),
            };
            let netns = &self.pod(waypoint).netns;
            let process = envoy::start(netns, waypoint, &configuration, &self.scratch)?;
            self.peers.push(process);
        }
        Ok(())
    }

    /// `hbone-peer` as waypoints, each with one workload behind it.
    fn start_peers(&mut self) -> Result<()> {
        for (waypoint, behind) in [("waypoint", "far"), ("gate", "behind")] {
            let address = self.pod(behind).addresses.v4;
            let next_hop = format!("{address}:15008");
            let expect = format!("spiffe://cluster.local/ns/default/sa/{behind}");
            self.start_peer(
                waypoint,
                &[
                    "--mode",
                    "waypoint",
                    "--map-to",
                    &address.to_string(),
                    "--next-hop",
                    &next_hop,
                    "--expect",
                    &expect,
                ],
            )?;
        }
        Ok(())
    }

    fn start_peer(&mut self, pod: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.pod(pod).netns.command(binary("hbone-peer")?);
        command
            .args(["--listen", "0.0.0.0:15008", "--listen", "[::]:15008"])
            .arg("--ca")
            .arg(self.ca())
            .args([
                "--identity",
                &format!("spiffe://cluster.local/ns/default/sa/{pod}"),
            ])
            .args(arguments);
        let mut peer = Process::start(pod, command, &self.scratch)?;
        peer.wait_for_log(PATIENCE, "listening")?;
        self.peers.push(peer);
        Ok(())
    }
}

/// The port stays as it is.
fn target(
    authority: IpAddr,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    account: &str,
) -> Target {
    Target {
        authority: SocketAddr::new(authority, port),
        protocol,
        endpoints: vec![Endpoint {
            address: SocketAddr::new(address, port),
            identity: identity("default", account),
        }],
    }
}
