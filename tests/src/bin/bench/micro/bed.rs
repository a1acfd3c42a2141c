//! Programs of its own with maps of a size, attached to nobody but to who is measured.

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use waysteer::compile::{Changes, EnrolledPod, Node, Tables, compile};
use waysteer::kernel::attach::CgroupLinks;
use waysteer::kernel::load::{LoadOptions, Loaded, Programs};
use waysteer::kernel::object::Object;
use waysteer::kernel::pins::{Generation, PinRoot};
use waysteer_common::abi::names::ABI_VERSION;
use waysteer_tests::netns::NetNs;
use waysteer_tests::pins::PinDirectory;
use waysteer_tests::process::Scratch;

use super::mesh;
use crate::cgroup::{Cgroup, Parent};
use crate::worker::{Place, Worker, processor};

pub(super) struct Bed {
    // Dropped in this order.
    pub(super) inside: Worker,
    pub(super) outside: Worker,
    pub(super) pod: NetNs,
    _other: NetNs,
    _links: CgroupLinks,
    pub(super) loaded: Loaded,
    generation: Generation,
    _pins: PinDirectory,
    _cgroup: Cgroup,
    _parent: Parent,
    _scratch: Scratch,
    pub(super) workloads: usize,
}

/// What the programs of a bed do besides deciding.
#[derive(Clone, Copy)]
pub(super) enum Doing {
    /// All of it, but nobody is told.
    Acting,
    /// Nothing: a dry run.
    Deciding,
    /// A dry run, in which somebody is told.
    Telling,
}

impl Bed {
    pub(super) fn new(workloads: usize, doing: Doing) -> Result<Self> {
        let (dry_run, events) = match doing {
            Doing::Acting => (false, false),
            Doing::Deciding => (true, false),
            Doing::Telling => (true, true),
        };
        let scratch = Scratch::new()?;
        let parent = Parent::new()?;
        let cgroup = parent.child("micro", &scratch)?;
        let (pod, other) = (NetNs::new("micro")?, NetNs::new("micro-other")?);
        let pins = PinDirectory::new(&format!("wsmicro-{}-{workloads}", std::process::id()));
        let root = PinRoot::open(pins.path())?;
        let generation = root.next_generation(ABI_VERSION)?;
        generation.make()?;
        let options = LoadOptions {
            pins: Some(generation.clone()),
            dry_run,
            ..LoadOptions::default()
        };
        let mut loaded = Programs::load(&Object::embedded()?, &options)?;
        let links = loaded.programs.attach_cgroup(cgroup.path())?;
        let node = Node {
            name: "node1".into(),
            direct_local_bypass: true,
            events,
            ..Node::default()
        };
        let pods = [
            ("client", pod.cookie()?, mesh::CLIENT),
            ("neighbour", 1, mesh::NEIGHBOUR),
        ]
        .map(|(name, netns, address)| EnrolledPod {
            netns,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            service_account: name.to_owned(),
            addresses: vec![address.into()],
        });
        let tables = compile(&mesh::of_size(workloads)?, &node, &pods).tables;
        let changes = Changes::between(&Tables::default(), &tables);
        loaded.maps.apply(&changes, 0)?;
        let worker = |netns| {
            let place = Place {
                netns,
                cgroup: Some(&cgroup),
                processor: processor(),
            };
            Worker::start("micro", &place)
        };
        Ok(Self {
            inside: worker(&pod)?,
            outside: worker(&other)?,
            pod,
            _other: other,
            _links: links,
            loaded,
            generation,
            _pins: pins,
            _cgroup: cgroup,
            _parent: parent,
            _scratch: scratch,
            workloads,
        })
    }

    pub(super) fn info(&self, program: &str) -> Result<ProgramInfo> {
        ProgramInfo::from_pin(self.generation.program(program)).with_context(|| program.to_owned())
    }
}
