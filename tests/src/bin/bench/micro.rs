//! The programs alone, over maps of several sizes: the hook of `connect()` under real calls of it,
//! which fail for want of a route once the hook has run, and packet programs by `BPF_PROG_TEST_RUN`.

mod mesh;
mod packet;

use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions};
use aya::sys::{Stats, enable_stats};
use waysteer::compile::{Changes, EnrolledPod, Node, Tables, compile};
use waysteer::kernel::load::{LoadOptions, Loaded, PROGRAMS, Programs};
use waysteer::kernel::object::Object;
use waysteer::kernel::pins::{Generation, PinRoot};
use waysteer_common::abi::names::{ABI_VERSION, STEER_MARK};
use waysteer_tests::interrupt;
use waysteer_tests::netns::NetNs;
use waysteer_tests::pins::PinDirectory;
use waysteer_tests::process::Scratch;

use crate::cgroup::{Cgroup, Parent};
use crate::report::Table;
use crate::worker::{Place, Worker, processor};
use mesh::Destination;

const CONNECTS: usize = 20_000;
const RUNS: u32 = 100_000;
/// `struct __sk_buff` as far as the mark.
const CONTEXT: usize = 12;

/// What is dialled, and from an enrolled pod or not.
const HOOK: [(&str, bool, Option<Destination>); 8] = [
    ("UDP: the counting itself, mostly", true, None),
    ("not enrolled", false, Some(Destination::Nobody)),
    ("nobody knows it", true, Some(Destination::Nobody)),
    ("workload, plain TCP", true, Some(Destination::Plain)),
    ("workload, HBONE", true, Some(Destination::Hbone)),
    ("service, HBONE", true, Some(Destination::Service)),
    ("service with a waypoint", true, Some(Destination::Waypoint)),
    (
        "neighbour, policies allow",
        true,
        Some(Destination::Neighbour),
    ),
];

/// Program, mark, and who a SYN is for.
const PACKETS: [(&str, &str, u32, Destination); 4] = [
    ("no mark", "lo_ingress", 0, Destination::Nobody),
    (
        "SYN, steered, held",
        "lo_ingress",
        STEER_MARK,
        Destination::Hbone,
    ),
    ("SYN, nobody knows it", "pod_egress", 0, Destination::Nobody),
    ("SYN, service, HBONE", "pod_egress", 0, Destination::Service),
];

/// One size; its programs are attached to nobody but to who is measured.
struct Bed {
    // Dropped in this order.
    inside: Worker,
    outside: Worker,
    pod: NetNs,
    _other: NetNs,
    _links: waysteer::kernel::attach::CgroupLinks,
    loaded: Loaded,
    generation: Generation,
    _pins: PinDirectory,
    _cgroup: Cgroup,
    _parent: Parent,
    _scratch: Scratch,
    workloads: usize,
}

pub(crate) fn measure(sizes: &[usize]) -> Result<Vec<Table>> {
    let mut names: Vec<[String; 2]> = Vec::new();
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut instructions = Vec::new();
    for size in sizes {
        eprintln!("maps of {size} workloads");
        let bed = Bed::new(*size)?;
        let mut values = bed.hook()?;
        values.extend(bed.packets()?);
        names = values.iter().map(|(name, _)| name.clone()).collect();
        cells.push(values.into_iter().map(|(_, value)| value).collect());
        instructions = bed.instructions()?;
    }
    let row = |(place, [program, what]): (usize, &[String; 2])| {
        let values = cells.iter().filter_map(|column| column.get(place).cloned());
        [program.clone(), what.clone()]
            .into_iter()
            .chain(values)
            .collect()
    };
    let mut columns = vec!["program", ""];
    columns.extend(sizes.iter().map(|size| match size {
        100 => "100",
        10_000 => "10,000",
        100_000 => "100,000",
        _ => "1,000,000",
    }));
    Ok(vec![
        Table {
            title: "ns a run, by the number of workloads in the maps".to_owned(),
            columns,
            rows: names.iter().enumerate().map(row).collect(),
        },
        Table {
            title: "instructions".to_owned(),
            columns: vec!["program", "looked at by the verifier", "in the program"],
            rows: instructions,
        },
    ])
}

impl Bed {
    fn new(workloads: usize) -> Result<Self> {
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
            ..LoadOptions::default()
        };
        let mut loaded = Programs::load(&Object::embedded()?, &options)?;
        let links = loaded.programs.attach_cgroup(cgroup.path())?;
        let node = Node {
            name: "node1".into(),
            direct_local_bypass: true,
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

    /// Nanoseconds of `connect4`.
    fn hook(&self) -> Result<Vec<([String; 2], String)>> {
        let _counting = enable_stats(Stats::RunTime).context("counting runs of programs")?;
        let mut values = Vec::new();
        for (what, enrolled, destination) in HOOK {
            interrupt::check()?;
            let worker = if enrolled {
                &self.inside
            } else {
                &self.outside
            };
            let workloads = self.workloads;
            let dial = move || {
                for turn in 0..CONNECTS {
                    // No route: that it fails is what was expected.
                    match destination {
                        Some(destination) => {
                            let _ = TcpStream::connect(destination.pick(workloads, turn));
                        }
                        None => {
                            let to = Destination::Nobody.pick(workloads, turn);
                            let any = SocketAddr::from(([0, 0, 0, 0], 0));
                            let _ = UdpSocket::bind(any)?.connect(to);
                        }
                    }
                }
                Ok(())
            };
            worker.run(dial)?;
            let before = self.info("connect4")?;
            worker.run(dial)?;
            let after = self.info("connect4")?;
            let count = after.run_count() - before.run_count();
            let time = after.run_time() - before.run_time();
            let each = time.as_nanos().checked_div(count.into());
            let each = each.with_context(|| format!("{what}: the hook did not run"))?;
            let name = ["connect4".to_owned(), what.to_owned()];
            values.push((name, each.to_string()));
        }
        Ok(values)
    }

    fn packets(&self) -> Result<Vec<([String; 2], String)>> {
        let mut values = Vec::new();
        for (what, program, mark, destination) in PACKETS {
            let classifier = self.loaded.programs.classifier(program)?;
            let frame = packet::syn(mesh::CLIENT, destination.pick(self.workloads, 1));
            let mut context = [0; CONTEXT];
            context[8..].copy_from_slice(&mark.to_ne_bytes());
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.ctx_in = Some(&context);
            options.repeat = RUNS;
            let ran = self.pod.run(|| classifier.test_run(options))?;
            let name = [program.to_owned(), what.to_owned()];
            values.push((name, ran.duration.as_nanos().to_string()));
        }
        Ok(values)
    }

    fn instructions(&self) -> Result<Vec<Vec<String>>> {
        let of = |program: &&'static str| {
            let info = self.info(program)?;
            let number =
                |value: Option<u32>| value.map_or(String::new(), |value| value.to_string());
            Ok(vec![
                (*program).to_owned(),
                number(info.verified_instruction_count()),
                // Eight bytes each.
                number(info.size_translated().map(|bytes| bytes / 8)),
            ])
        };
        PROGRAMS.iter().map(of).collect()
    }

    fn info(&self, program: &str) -> Result<ProgramInfo> {
        ProgramInfo::from_pin(self.generation.program(program)).with_context(|| program.to_owned())
    }
}
