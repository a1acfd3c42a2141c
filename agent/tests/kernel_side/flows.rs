//! Real connections meet the verdicts that the maps hold for them.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use waysteer::address::{from_wire, to_wire};
use waysteer::compile::{Changes, Tables};
use waysteer::kernel::attach::{CgroupLinks, PodLinks};
use waysteer::kernel::cgroup;
use waysteer::kernel::load::{LoadOptions, Loaded};
use waysteer::kernel::observe::VerdictReport;
use waysteer::kernel::redirect::Redirect;
use waysteer_common::abi::key::{EndpointKey, ServiceKey, ServicePortKey};
use waysteer_common::abi::names::{OUTBOUND_PORT, TUNNEL_MARK};
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{EndpointValue, PodAddressValue, ServiceValue, WorkloadValue};
use waysteer_common::addr::Address;
use waysteer_common::verdict::{Class, Hook, PacketAction, Reason, Verdict};

use crate::bed::{Bed, POD_V4, POD_V6, WORLD_V4, WORLD_V6, address, socket};
use crate::tables::{key, pod, service_value, set, settings, workload};
use crate::{load, needs_root};

const PORT: u16 = 8080;
const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(10);
const VIP: &str = "10.96.0.1";

/// A captured pod.
struct Captured {
    bed: Bed,
    loaded: Loaded,
    tables: Tables,
    _links: (CgroupLinks, PodLinks, Redirect),
}

impl Captured {
    /// With `change` made to tables that know the pod.
    fn new(change: impl FnOnce(&mut Tables)) -> Self {
        let bed = Bed::new();
        let mut loaded = load(&LoadOptions::default());
        let netns = &bed.pod.netns;
        let network = netns.network().expect("devices and addresses");
        let redirect = Redirect::install(netns, &network).expect("the redirection");
        let links = loaded
            .programs
            .attach_pod(netns, &network)
            .expect("the links");
        let root = cgroup::root(None).expect("a cgroup v2 hierarchy");
        let cgroup = loaded.programs.attach_cgroup(&root).expect("the links");
        let mut tables = Tables {
            settings: settings(SettingsValue::SYNCED | SettingsValue::EVENTS),
            ..Tables::default()
        };
        let cookie = netns.cookie();
        tables.pods.insert(
            PodKey {
                netns: cookie.into(),
            },
            pod(0),
        );
        for own in [POD_V4, POD_V6] {
            tables.pod_addresses.insert(
                key(own),
                PodAddressValue {
                    netns: cookie.into(),
                },
            );
        }
        change(&mut tables);
        let changes = Changes::between(&Tables::default(), &tables);
        loaded.maps.apply(&changes, 0).expect("the changes");
        Self {
            bed,
            loaded,
            tables,
            _links: (cgroup, links, redirect),
        }
    }

    fn connect(&self, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        self.bed
            .pod
            .run(|| TcpStream::connect_timeout(&to, timeout))
    }

    fn verdicts(&self, class: Class, reason: Reason) -> u64 {
        self.loaded.counters.verdicts().expect("the counters")[&(class, reason)]
    }

    fn packets(&self, action: PacketAction) -> u64 {
        self.loaded.counters.packets().expect("the counters")[&action]
    }

    fn explain(&self, to: &str, port: u16) -> Verdict {
        let cookie = self.bed.pod.netns.cookie();
        let verdict = self.loaded.explainer.explain(cookie, address(to), port);
        verdict.expect("an answer").expect("an enrolled pod")
    }
}

/// The tunnel's outbound listener, for both families.
fn tunnel_listener(bed: &Bed) -> TcpListener {
    bed.pod.run(|| {
        let socket =
            Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.set_only_v6(false).expect("both families");
        socket.set_reuse_address(true).expect("an option");
        socket.set_ip_transparent_v4(true).expect("a privilege");
        socket.set_mark(TUNNEL_MARK).expect("a privilege");
        let any = SocketAddr::from(([0u16; 8], OUTBOUND_PORT));
        socket.bind(&any.into()).expect("the port");
        socket.listen(16).expect("a listener");
        socket.into()
    })
}

fn only_event(mut loaded: Loaded) -> VerdictReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let events = &mut loaded.events;
        let event = tokio::time::timeout(LATE, events.next())
            .await
            .expect("an event in time");
        let none = tokio::time::timeout(SOON, events.next()).await;
        assert!(none.is_err(), "one connection, one event: {none:?}");
        event.expect("an event")
    })
}

#[test]
fn a_plain_destination_is_left_alone_and_counted() {
    needs_root!();
    let captured = Captured::new(|tables| {
        tables.workloads.insert(key(WORLD_V4), workload(1, 0));
    });
    let world = captured
        .bed
        .world
        .run(|| TcpListener::bind((WORLD_V4, PORT)).expect("a port"));
    let client = captured
        .connect(socket(WORLD_V4, PORT), LATE)
        .expect("a connection");
    let (server, peer) = world.accept().expect("a connection");
    assert_eq!(peer, client.local_addr().expect("an address"));
    drop((client, server));
    assert_eq!(captured.verdicts(Class::Direct, Reason::WorkloadPlain), 1);
    let traffic = captured.loaded.counters.traffic().expect("the counters");
    assert_eq!(traffic[&(Class::Direct, false)].opened, 1);
    let cookie = captured.bed.pod.netns.cookie();
    let event = only_event(captured.loaded);
    assert_eq!(
        (event.netns, event.hook, event.source),
        (cookie, Hook::Connect, None)
    );
    assert_eq!(event.destination, socket(WORLD_V4, PORT));
    assert_eq!(
        (event.verdict.reason, event.verdict.steer),
        (Reason::WorkloadPlain, false)
    );
}

#[test]
fn a_hbone_destination_is_delivered_to_the_tunnel_with_its_verdict() {
    needs_root!();
    let captured = Captured::new(|tables| {
        tables
            .workloads
            .insert(key(WORLD_V4), workload(1, WorkloadValue::HBONE));
        tables
            .workloads
            .insert(key(WORLD_V6), workload(2, WorkloadValue::HBONE));
    });
    let tunnel = tunnel_listener(&captured.bed);
    for (world, id) in [(WORLD_V4, 1), (WORLD_V6, 2)] {
        let to = socket(world, PORT);
        let client = captured.connect(to, LATE).expect("the tunnel answers");
        assert_eq!(client.peer_addr().expect("an address"), to);
        let (accepted, source) = tunnel.accept().expect("a connection");
        let original = canonical(accepted.local_addr().expect("an address"));
        let source = canonical(source);
        assert_eq!(
            (original, source),
            (to, client.local_addr().expect("an address"))
        );
        let connections = captured.loaded.connections.clone();
        let cookie = captured.bed.pod.netns.cookie();
        let verdict =
            std::thread::spawn(move || connections.of_connection(cookie, source, original));
        let verdict = verdict
            .join()
            .expect("a thread")
            .expect("the map")
            .expect("a verdict");
        assert_eq!(
            (verdict.class, verdict.reason),
            (Class::Direct, Reason::WorkloadHbone)
        );
        let hop = verdict.next_hop;
        assert_eq!(
            (from_wire(hop.address), hop.port, hop.hbone),
            (address(world), 15008, true)
        );
        assert_eq!(hop.workload, id);
    }
    assert_eq!(captured.verdicts(Class::Direct, Reason::WorkloadHbone), 2);
    assert_eq!(captured.packets(PacketAction::OutboundAssigned), 2);
    let unknown =
        captured
            .loaded
            .connections
            .of_connection(1, socket(POD_V4, 1), socket(WORLD_V4, 1));
    assert_eq!(unknown.expect("the map"), None);
}

#[test]
fn without_a_tunnel_what_needs_it_is_held() {
    needs_root!();
    let captured = Captured::new(|tables| {
        tables
            .workloads
            .insert(key(WORLD_V4), workload(1, WorkloadValue::HBONE));
    });
    let world = captured
        .bed
        .world
        .run(|| TcpListener::bind((WORLD_V4, PORT)).expect("a port"));
    world.set_nonblocking(true).expect("a flag");
    // Neither the destination nor a listener of the pod's own on the same port may answer.
    let own = captured
        .bed
        .pod
        .run(|| TcpListener::bind(("0.0.0.0", PORT)).expect("a port"));
    own.set_nonblocking(true).expect("a flag");
    let error = captured
        .connect(socket(WORLD_V4, PORT), SOON)
        .expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    for listener in [&world, &own] {
        assert_eq!(
            listener.accept().expect_err("nobody").kind(),
            ErrorKind::WouldBlock
        );
    }
    assert!(captured.packets(PacketAction::OutboundHeld) > 0);
}

#[test]
fn the_kernel_explains_what_it_would_do() {
    needs_root!();
    let captured = Captured::new(|tables| {
        tables
            .workloads
            .insert(key(WORLD_V4), workload(1, WorkloadValue::HBONE));
        tables.workloads.insert(key(WORLD_V6), workload(2, 0));
        let vip = to_wire(address(VIP));
        let public = ServiceKey {
            namespace: 0.into(),
            address: vip,
        };
        tables.services.insert(public, service_value(9, 0));
        let port = ServicePortKey {
            service: 9.into(),
            port: 80.into(),
            ..Default::default()
        };
        tables.service_ports.insert(port, set(77, 1));
        let index = EndpointKey {
            set: 77.into(),
            ..EndpointKey::default()
        };
        let endpoint = EndpointValue {
            workload: 1.into(),
            flags: (EndpointValue::V4 | EndpointValue::HBONE).into(),
            port: PORT.into(),
            v4: [10, 77, 0, 2],
            ..EndpointValue::default()
        };
        tables.endpoints.insert(index, endpoint);
        let waypoint = ServiceKey {
            namespace: 0.into(),
            address: Address::from_v4([10, 96, 0, 2]),
        };
        tables
            .services
            .insert(waypoint, service_value(10, ServiceValue::WAYPOINT));
    });
    assert_eq!(
        captured.loaded.maps.read().expect("the maps"),
        captured.tables
    );
    let cases = [
        (WORLD_V4, PORT, Class::Direct, Reason::WorkloadHbone, true),
        (WORLD_V6, PORT, Class::Direct, Reason::WorkloadPlain, false),
        (POD_V4, PORT, Class::Passthrough, Reason::OwnAddress, false),
        ("192.0.2.1", 443, Class::Passthrough, Reason::Unknown, false),
        (VIP, 80, Class::Direct, Reason::ServiceHbone, true),
        (VIP, 81, Class::Direct, Reason::NoPort, true),
        (
            "10.96.0.2",
            80,
            Class::ToServerWaypoint,
            Reason::WaypointUnresolved,
            true,
        ),
    ];
    for (to, port, class, reason, steer) in cases {
        let verdict = captured.explain(to, port);
        assert_eq!(
            (verdict.class, verdict.reason, verdict.steer),
            (class, reason, steer),
            "{to}"
        );
    }
    let hop = captured.explain(VIP, 80).next_hop;
    assert_eq!(
        (from_wire(hop.address), hop.port, hop.authority_port),
        (address(WORLD_V4), 15008, PORT)
    );
    let stranger = captured
        .loaded
        .explainer
        .explain(1, address(VIP), 80)
        .expect("an answer");
    assert_eq!(stranger, None);
    // Questions are not connections.
    assert_eq!(captured.verdicts(Class::Direct, Reason::ServiceHbone), 0);
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
