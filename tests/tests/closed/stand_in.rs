//! Pods under capture with no tunnel: programs, rules and maps as the agent makes them, made by
//! this process, and listeners that stand in for the tunnel's when a test wants them.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use waysteer::compile::{Changes, EnrolledPod, Node, Tables, compile};
use waysteer::kernel::attach::{CgroupLinks, PodLinks};
use waysteer::kernel::cgroup;
use waysteer::kernel::load::{LoadOptions, Programs};
use waysteer::kernel::maps::Maps;
use waysteer::kernel::netns::PodNetns;
use waysteer::kernel::object::Object;
use waysteer::kernel::observe::Counters;
use waysteer::kernel::redirect::Redirect;
use waysteer::model::Mesh;
use waysteer::source::file::{FileState, parse_mesh};
use waysteer_common::abi::names::TUNNEL_MARK;
use waysteer_common::verdict::PacketAction;
use waysteer_tests::bed::Bed;
use waysteer_tests::netns::NetNs;

/// Ends with its links; the rules stay in the bed's namespaces, which end too.
pub(super) struct Captured {
    counters: Counters,
    _maps: Maps,
    _links: Vec<(PodLinks, Redirect)>,
    _cgroup: CgroupLinks,
}

impl Captured {
    pub(super) fn new(bed: &Bed, pods: &[&str]) -> Result<Self> {
        let mut loaded = Programs::load(&Object::embedded()?, &LoadOptions::default())?;
        let cgroup = loaded.programs.attach_cgroup(&cgroup::root(None)?)?;
        let (mut links, mut enrolled) = (Vec::new(), Vec::new());
        for name in pods {
            let netns = PodNetns::open(&bed.pod(name).netns.path())?;
            let network = netns.network()?;
            let redirect = Redirect::install(&netns, &network)?;
            links.push((loaded.programs.attach_pod(&netns, &network)?, redirect));
            enrolled.push(EnrolledPod {
                netns: netns.cookie(),
                name: (*name).to_owned(),
                namespace: "default".to_owned(),
                service_account: (*name).to_owned(),
                addresses: network.addresses,
            });
        }
        let node = Node {
            name: "node1".into(),
            network: "".into(),
            direct_local_bypass: true,
            mesh_cidrs: Vec::new(),
            events: false,
        };
        let tables = compile(&mesh(bed)?, &node, &enrolled).tables;
        let host = bed.topology.node.netns.cookie()?;
        loaded
            .maps
            .apply(&Changes::between(&Tables::default(), &tables), host)?;
        Ok(Self {
            counters: loaded.counters,
            _maps: loaded.maps,
            _links: links,
            _cgroup: cgroup,
        })
    }

    pub(super) fn count(&self, action: PacketAction) -> Result<u64> {
        let counts = self.counters.packets()?;
        counts.get(&action).copied().context("a counter")
    }
}

fn mesh(bed: &Bed) -> Result<Mesh> {
    let parsed = parse_mesh(&bed.mesh(), "mesh.yaml")
        .map_err(|diagnostic| anyhow::anyhow!("{diagnostic}"))?;
    ensure!(parsed.rejected.is_empty(), "{:?}", parsed.rejected);
    let mut mesh = Mesh::default();
    mesh.apply(FileState::default().next(parsed));
    Ok(mesh)
}

/// A listener as the tunnel's: transparent, marked, of both families.
pub(super) fn tunnel_listener(netns: &NetNs, port: u16) -> Result<TcpListener> {
    netns.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_mark(TUNNEL_MARK)?;
        socket.set_ip_transparent_v4(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
        socket.listen(16)?;
        Ok(socket.into())
    })
}
