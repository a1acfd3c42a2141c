//! The case table in the kernel: mesh file → compiler → maps → the classifier as the kernel has
//! it. It must say what the table says and what the same code says on the host.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer::address::{socket_from_wire, to_wire};
use waysteer::compile::{Changes, EnrolledPod, Node, TableLookup, Tables, compile};
use waysteer::kernel::explain::Explanation;
use waysteer::kernel::load::{LoadOptions, Loaded, Programs};
use waysteer::kernel::object::Object;
use waysteer::model::{Mesh, Rejection};
use waysteer::source::file::{FileState, parse_mesh};
use waysteer_common::abi::pod::PodKey;
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::{Class, Reason, Verdict};
use waysteer_tests::cases::{CASES, MESH, MESH_CIDRS, NODE, PODS};

/// The kernel's classifier with maps of its own, and what they hold.
pub(super) struct Kernel {
    pub(super) loaded: Loaded,
    tables: Tables,
}

impl Kernel {
    pub(super) fn load() -> Result<Self> {
        Self::load_with(&LoadOptions::default())
    }

    pub(super) fn load_with(options: &LoadOptions) -> Result<Self> {
        Ok(Self {
            loaded: Programs::load(&Object::embedded()?, options)?,
            tables: Tables::default(),
        })
    }

    /// Brings the maps from what they hold to what a mesh needs.
    pub(super) fn apply(&mut self, mesh: &Mesh, node: &Node) -> Result<()> {
        let tables = compile(mesh, node, &pods()).tables;
        let changes = Changes::between(&self.tables, &tables);
        self.loaded.maps.apply(&changes, 0)?;
        ensure!(
            self.loaded.maps.read()? == tables,
            "the maps hold something else"
        );
        self.tables = tables;
        Ok(())
    }

    pub(super) fn explain(&self, from: &str, to: SocketAddr) -> Result<Verdict> {
        let explained = self
            .loaded
            .explainer
            .explain(netns(from), to.ip(), to.port());
        explained?.context("the pod is not enrolled")
    }

    /// The same, with what was looked up for it.
    pub(super) fn why(&self, from: &str, to: SocketAddr) -> Result<Explanation> {
        let explained = self.loaded.explainer.why(netns(from), to.ip(), to.port());
        explained?.context("the pod is not enrolled")
    }

    /// What the maps hold.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What the host makes of the same tables, with endpoints drawn from a sequence.
    pub(super) fn decide(&self, from: &str, to: SocketAddr, seed: u32) -> Result<Verdict> {
        let netns = netns(from);
        let key = PodKey {
            netns: netns.into(),
        };
        let pod = self.tables.pods.get(&key).context("no such pod")?;
        let state = Cell::new(seed);
        let random = || {
            let next = state.get().wrapping_mul(1_664_525);
            state.set(next.wrapping_add(1_013_904_223));
            state.get()
        };
        let flow = Flow {
            pod,
            netns,
            destination: to_wire(to.ip()),
            port: to.port(),
            is_dialling: true,
        };
        let tables = &self.tables;
        Ok(classify(&flow, &TableLookup { tables, random }))
    }
}

pub(super) fn mesh() -> Result<Mesh> {
    let parsed = parse_mesh(MESH, "mesh.yaml").map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut mesh = Mesh::default();
    let mut delta = FileState::default().next(parsed);
    delta.complete = true;
    mesh.apply(delta);
    Ok(mesh)
}

pub(super) fn node() -> Result<Node> {
    Ok(Node {
        name: NODE.into(),
        direct_local_bypass: true,
        mesh_cidrs: MESH_CIDRS
            .iter()
            .map(|cidr| cidr.parse())
            .collect::<Result<_, _>>()?,
        ..Node::default()
    })
}

/// The cookie stands for a netns that need not exist.
pub(super) fn netns(pod: &str) -> u64 {
    let position = PODS.iter().position(|(name, ..)| *name == pod);
    position.map_or(0, |position| position as u64 + 1000)
}

fn pods() -> Vec<EnrolledPod> {
    let parse = |address: &&str| address.parse().expect("the table has addresses");
    PODS.iter()
        .map(|(name, namespace, addresses)| EnrolledPod {
            netns: netns(name),
            name: (*name).into(),
            namespace: (*namespace).into(),
            service_account: (*name).into(),
            addresses: addresses.iter().map(parse).collect(),
        })
        .collect()
}

pub(super) fn text(address: Address, port: u16) -> String {
    socket_from_wire(address, port).map_or_else(String::new, |address| address.to_string())
}

#[test]
fn every_row_of_the_table() -> Result<()> {
    let mut kernel = Kernel::load()?;
    kernel.apply(&mesh()?, &node()?)?;
    for case in CASES {
        let to = case.to.parse()?;
        let verdict = kernel.explain(case.from, to)?;
        let hop = verdict.next_hop;
        let found = (
            (verdict.class, verdict.reason, verdict.steer),
            text(hop.address, hop.port),
            text(hop.authority, hop.authority_port),
        );
        let expected = (
            (case.class, case.reason, case.steered()),
            case.expected_next_hop().to_owned(),
            case.expected_authority().to_owned(),
        );
        ensure!(found == expected, "{case:?}: {found:?}");
        let host = kernel.decide(case.from, to, 1)?;
        ensure!(
            verdict == host,
            "{case:?}: {verdict:?}, on the host {host:?}"
        );
    }
    Ok(())
}

#[test]
fn nothing_is_bypassed_before_the_first_complete_snapshot() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut mesh = mesh()?;
    mesh.complete = false;
    kernel.apply(&mesh, &node()?)?;
    for case in CASES {
        let verdict = kernel.explain(case.from, case.to.parse()?)?;
        let expected = match case.reason {
            Reason::OwnAddress => (Reason::OwnAddress, false),
            _ => (Reason::NotSynced, true),
        };
        ensure!(
            (verdict.reason, verdict.steer) == expected,
            "{case:?}: {verdict:?}"
        );
    }
    // The same maps, completed.
    mesh.complete = true;
    kernel.apply(&mesh, &node()?)?;
    let verdict = kernel.explain("client", "192.0.2.1:80".parse()?)?;
    ensure!(verdict.reason == Reason::Unknown && !verdict.steer);
    Ok(())
}

#[test]
fn tunnel_mode_steers_neighbours() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut node = node()?;
    node.direct_local_bypass = false;
    kernel.apply(&mesh()?, &node)?;
    for to in ["10.1.0.2:80", "[fd00:1::2]:80"] {
        let verdict = kernel.explain("client", to.parse()?)?;
        let found = (verdict.class, verdict.reason, verdict.steer);
        ensure!(
            found == (Class::DirectLocal, Reason::LocalTunnel, true),
            "{to}: {verdict:?}"
        );
        ensure!(verdict.next_hop.hbone, "{to}: {verdict:?}");
    }
    Ok(())
}

/// Keys of both families are of one space, IPv4 within IPv6.
#[test]
fn all_of_ipv6_is_nothing_of_ipv4() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let everything = Node {
        mesh_cidrs: vec!["::/0".parse()?],
        ..node()?
    };
    kernel.apply(&mesh()?, &everything)?;
    for (to, reason) in [
        ("192.0.2.1:80", Reason::Unknown),
        ("[2001:db8:9::9]:80", Reason::UnknownInMesh),
    ] {
        let verdict = kernel.explain("client", to.parse()?)?;
        ensure!(verdict.reason == reason, "{to}: {verdict:?}");
        ensure!(kernel.decide("client", to.parse()?, 1)? == verdict, "{to}");
    }
    Ok(())
}

#[test]
fn what_a_rejected_entry_claims_is_steered() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut mesh = mesh()?;
    let claimed = ["198.51.100.7", "10.2.0.9", "10.1.0.2", "10.3.0.30"];
    let mut rejection = Rejection {
        entry: "service default/broken".into(),
        error: "broken".into(),
        addresses: claimed
            .iter()
            .map(|a| a.parse())
            .collect::<Result<_, _>>()?,
        addresses_unknown: false,
    };
    let reasons = [
        ("198.51.100.7:80", Reason::Invalid),
        ("10.2.0.9:80", Reason::Invalid),
        ("10.1.0.2:80", Reason::LocalNotEvaluated),
        ("10.3.0.30:80", Reason::Invalid),
        ("10.3.0.50:80", Reason::ServiceMixed),
        ("10.3.0.10:80", Reason::ServiceHbone),
    ];
    let check = |kernel: &Kernel| -> Result<()> {
        for (to, reason) in reasons {
            let verdict = kernel.explain("client", to.parse()?)?;
            ensure!(
                verdict.reason == reason && verdict.steer,
                "{to}: {verdict:?}"
            );
        }
        Ok(())
    };
    mesh.rejected
        .insert(rejection.entry.clone(), rejection.clone());
    kernel.apply(&mesh, &node()?)?;
    check(&kernel)?;
    let unknown = "192.0.2.1:80".parse()?;
    ensure!(!kernel.explain("client", unknown)?.steer);
    rejection.addresses_unknown = true;
    mesh.rejected.insert(rejection.entry.clone(), rejection);
    kernel.apply(&mesh, &node()?)?;
    check(&kernel)?;
    let verdict = kernel.explain("client", unknown)?;
    ensure!(
        verdict.reason == Reason::UnknownIncomplete && verdict.steer,
        "{verdict:?}"
    );
    Ok(())
}
