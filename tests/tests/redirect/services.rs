//! Services whose endpoint is a pod of the node: the socket is sent there past the tunnel, and the
//! application does not notice.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use socket2::{Domain, Socket, Type};
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::capture::{Capture, FlowId};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(30);

fn server(bed: &Bed) -> Result<Server> {
    Server::start(&bed.pod("server").netns, "server", PORT, Service::Http)
}

fn capture(bed: &Bed) -> Result<Capture> {
    let veths = ["client", "server"].map(|pod| bed.pod(pod).veth.as_str());
    Capture::start(&bed.topology.node.netns, &veths)
}

fn hbone(wire: &Capture) -> u64 {
    let is_tunnel = |id: &FlowId| id.source.port() == 15008 || id.destination.port() == 15008;
    wire.sum(is_tunnel).packets
}

#[test]
fn the_application_sees_the_service_and_the_wire_the_pod() -> Result<()> {
    let mut bed = Bed::new(&Options::default())?;
    let _server = server(&bed)?;
    let wire = capture(&bed)?;
    let client = &bed.pod("client").netns;
    let mut open = Vec::new();
    for v6 in [false, true] {
        let vip = Bed::service(bed::WEB_LOCAL, v6);
        let endpoint = SocketAddr::new(bed.address("server", v6), PORT);
        let own = SocketAddr::new(bed.address("client", v6), 0);
        for dial in [
            Dial::new(),
            Dial::new().mapped(),
            Dial::new().nonblocking(),
            Dial::new().source(own),
            Dial::new().device("eth0"),
        ] {
            wire.clear();
            let connection = dial.connect(client, vip)?;
            let peer = connection.peer;
            ensure!(
                (peer.ip().to_canonical(), peer.port()) == (vip.ip(), vip.port()),
                "{dial:?}: {peer}"
            );
            let seen = http::get(&connection.stream, "web-local", "/to-the-pod")?.seen()?;
            ensure!(seen.client.ip().to_canonical() == own.ip(), "{seen:?}");
            let all = wire.seen(b"/to-the-pod");
            let to_pod = |id: &FlowId| [id.source, id.destination].contains(&endpoint);
            ensure!(
                !all.is_empty() && all.iter().all(to_pod),
                "{dial:?}: {all:?}"
            );
            ensure!(wire.sum_to(vip).packets == 0 && hbone(&wire) == 0);
            open.push((connection, vip));
        }
    }
    // What was dialled is told for as long as the sockets live, whoever runs.
    bed.kill_agent()?;
    for (connection, vip) in &open {
        let peer = connection.stream.peer_addr()?;
        ensure!(peer.ip().to_canonical() == vip.ip(), "{peer}");
        http::get(&connection.stream, "web-local", "/afterwards")?.seen()?;
    }
    Ok(())
}

#[test]
fn a_refusal_is_told_at_once_and_the_socket_can_be_used_again() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Http)?;
    for v6 in [false, true] {
        let vip = Bed::service(bed::WEB_LOCAL, v6);
        let far = SocketAddr::new(bed.address("far", v6), PORT);
        let netns = &bed.pod("client").netns;
        let (refused, seen) = netns.run(|| -> Result<_> {
            let socket = Socket::new(Domain::for_address(vip), Type::STREAM, None)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let refused = socket.connect(&vip.into()).map_err(|error| error.kind());
            socket.connect(&far.into()).context("once more")?;
            let peer = socket.peer_addr()?.as_socket();
            ensure!(peer == Some(far), "{peer:?}");
            Ok((refused, http::get(&socket.into(), "far", "/again")?.seen()?))
        })?;
        ensure!(
            refused == Err(io::ErrorKind::ConnectionRefused),
            "{refused:?}"
        );
        ensure!(seen.server == "far", "{seen:?}");
    }
    drop(far);
    // From one to the other and back, with `AF_UNSPEC` in between.
    let _server = server(&bed)?;
    let vip = Bed::service(bed::WEB_LOCAL, false);
    let pod = SocketAddr::new(bed.address("server", false), PORT);
    bed.pod("client").netns.run(|| -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        for to in [vip, pod, vip] {
            socket.connect(&to.into())?;
            let peer = socket.peer_addr()?.as_socket();
            ensure!(peer == Some(to), "{peer:?} instead of {to}");
            disconnect(&socket)?;
        }
        Ok(())
    })
}

fn disconnect(socket: &Socket) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as u16,
        sa_data: [0; 14],
    };
    let length = size_of::<libc::sockaddr>() as u32;
    // SAFETY: the address is a local of the length that the call is told.
    match unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn datagrams_are_left_alone() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let wire = capture(&bed)?;
    for v6 in [false, true] {
        let vip = Bed::service(bed::WEB_LOCAL, v6);
        let own = SocketAddr::new(bed.address("client", v6), 0);
        bed.pod("client").netns.run(|| -> Result<()> {
            let socket = UdpSocket::bind(own)?;
            socket.connect(vip)?;
            ensure!(socket.peer_addr()? == vip);
            socket.send(b"datagram")?;
            Ok(())
        })?;
        wait_until(PATIENCE, "it leaves as it is", || {
            wire.seen(b"datagram")
                .iter()
                .any(|id| id.destination == vip)
        })?;
    }
    Ok(())
}

/// The embedded tunnel lets nobody in where a policy applies.
#[test]
fn a_policy_leaves_a_service_to_the_tunnel() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let server = server(&bed)?;
    let name = "name: server,";
    let policy = "policies:\n- {name: allow, namespace: default, scope: WorkloadSelector, \
                  action: Allow, rules: [[[{namespaces: [{Exact: elsewhere}]}]]], dryRun: false}\n";
    let mesh = bed.mesh();
    ensure!(mesh.matches(name).count() == 1);
    let with = format!("{name} authorizationPolicies: [\"default/allow\"],");
    bed.write_mesh(&(mesh.replace(name, &with) + policy))?;
    for v6 in [false, true] {
        let vip = Bed::service(bed::WEB_LOCAL, v6);
        wait_until(PATIENCE, "the policy is known", || {
            admin::explain(&bed.socket(), "default/client", vip)
                .is_ok_and(|(reason, _)| reason == "ServiceLocal")
        })?;
        let wire = capture(&bed)?;
        let accepted = server.accepted().len();
        let refused = Dial::new()
            .connect(&bed.pod("client").netns, vip)
            .context("connecting")
            .and_then(|found| {
                ensure!(found.peer == vip, "{}", found.peer);
                Ok(http::get(&found.stream, "web-local", "/forbidden")?)
            });
        ensure!(refused.is_err(), "{refused:?}");
        ensure!(server.accepted().len() == accepted, "it was reached");
        ensure!(wire.seen(b"/forbidden").is_empty() && hbone(&wire) > 0);
    }
    Ok(())
}
