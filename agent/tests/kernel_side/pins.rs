//! Pinned links outlive who made them, and get another program in one step.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::programs::{CgroupAttachMode, CgroupSockAddr, SchedClassifier, TcAttachType};
use waysteer::kernel::cgroup;
use waysteer::kernel::hooks::run_by;
use waysteer::kernel::link::{Hook, Link, Place, Precedence};
use waysteer::kernel::load::{LoadOptions, Loaded};
use waysteer::kernel::object::Object;
use waysteer::kernel::pins::{Generation, PinError, PinRoot, remove};
use waysteer_common::abi::names::ABI_VERSION;

use crate::bed::{Bed, Namespace, without_forks};
use crate::{load, needs_root};

/// A directory of its own; it goes away when dropped, with all that is pinned in it.
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsk-{}-{count}", std::process::id());
        Self(Path::new("/sys/fs/bpf").join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn open(&self) -> PinRoot {
        PinRoot::open(&self.0).expect("a directory of our own")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        remove(&self.0).expect("the pins");
    }
}

pub(crate) fn load_into(generation: &Generation) -> Loaded {
    load(&LoadOptions {
        pins: Some(generation.clone()),
        ..LoadOptions::default()
    })
}

/// Ids of what runs on a device's hook.
fn programs(namespace: &Namespace, device: &str, direction: TcAttachType) -> Vec<u32> {
    let query = || SchedClassifier::query_tcx(device, direction).expect("a query");
    let (_, programs) = namespace.run(query);
    programs.iter().map(|program| program.id()).collect()
}

pub(crate) fn hooks(namespace: &Namespace) -> Vec<Vec<u32>> {
    vec![
        programs(namespace, "lo", TcAttachType::Ingress),
        programs(namespace, "eth0", TcAttachType::Egress),
        programs(namespace, "eth0", TcAttachType::Ingress),
    ]
}

#[test]
fn a_directory_is_one_agents_and_gone_when_it_is_empty() {
    needs_root!();
    let directory = Root::new();
    let root = directory.open();
    let error = PinRoot::open(directory.path()).expect_err("it is taken");
    let PinError::InUse { holder, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(holder, Some(std::process::id()));
    let generation = root.next_generation(ABI_VERSION).expect("a generation");
    assert!(generation.path().ends_with(format!("v{ABI_VERSION}")));
    generation.make().expect("its directories");
    let found = root.generations().expect("a list");
    assert_eq!(found, std::slice::from_ref(&generation));
    let second = root.next_generation(ABI_VERSION).expect("a generation");
    assert!(second.path().ends_with(format!("v{ABI_VERSION}-2")));
    let is_gone = without_forks(|| root.close()).expect("a look");
    assert!(!is_gone, "it is not empty");
    assert!(directory.path().exists());
    let root = directory.open();
    generation.remove().expect("its directories");
    assert!(root.close().expect("a look"));
    assert!(!directory.path().exists());
    let elsewhere = std::env::temp_dir().join("waysteer-pins");
    let error = PinRoot::open(&elsewhere).expect_err("no bpf file system");
    assert!(matches!(error, PinError::NotBpf { .. }), "{error}");
    assert!(!elsewhere.exists());
}

#[test]
fn links_of_a_pod_outlive_the_process_and_change_programs_in_one_step() {
    needs_root!();
    let (bed, directory) = (Bed::new(), Root::new());
    let root = directory.open();
    let generation = root.next_generation(ABI_VERSION).expect("a generation");
    let network = bed.pod.netns.network().expect("devices and addresses");
    let mut first = load_into(&generation);
    let links = first
        .programs
        .attach_pod(&bed.pod.netns, &network)
        .expect("the links");
    let before = hooks(&bed.pod);
    assert!(before.iter().all(|hook| hook.len() == 1), "{before:?}");
    drop((links, first));
    assert_eq!(hooks(&bed.pod), before, "they outlive their maker");

    let ids = |generation: &Generation| -> Vec<u32> {
        let pins = generation.pod_links(bed.pod.netns.cookie());
        let pins = pins.expect("pins").into_iter();
        let open = |pin: PathBuf| Link::open(&pin).expect("a link").info().expect("its id");
        pins.map(|pin| open(pin).id).collect()
    };
    let link_ids = ids(&generation);
    assert_eq!(link_ids.len(), 3);
    let mut second = load_into(&generation);
    let links = second
        .programs
        .attach_pod(&bed.pod.netns, &network)
        .expect("the links");
    let after = hooks(&bed.pod);
    assert!(after.iter().all(|hook| hook.len() == 1), "{after:?}");
    assert!(before.iter().zip(&after).all(|(old, new)| old != new));
    assert_eq!(ids(&generation), link_ids, "the same links");
    assert!(links.verify(&bed.pod.netns).expect("a look").is_empty());

    links.detach().expect("they come off");
    assert_eq!(hooks(&bed.pod), vec![Vec::<u32>::new(); 3]);
    assert!(generation.pods().expect("a list").is_empty());
}

#[test]
fn a_device_that_went_and_one_that_came_are_noticed() {
    needs_root!();
    let (bed, directory) = (Bed::new(), Root::new());
    let root = directory.open();
    let generation = root.next_generation(ABI_VERSION).expect("a generation");
    let mut loaded = load_into(&generation);
    let mut attach = || {
        let network = bed.pod.netns.network().expect("devices and addresses");
        let attached = loaded.programs.attach_pod(&bed.pod.netns, &network);
        (network, attached.expect("the links"))
    };
    let (old, _) = attach();
    let pins = || {
        let pins = generation.pod_links(bed.pod.netns.cookie()).expect("pins");
        let open = |pin: &PathBuf| Link::open(pin).expect("a link");
        let infos = pins.iter().map(|pin| open(pin).info().expect("its place"));
        infos.map(|info| info.place).collect::<Vec<_>>()
    };
    bed.pod.ip("link del eth0");
    let places = pins();
    let nowhere = places.iter().filter(|place| **place == Place::Nowhere);
    assert_eq!(nowhere.count(), 2, "{places:?}");
    bed.connect();
    let (new, _) = attach();
    assert_ne!(new.devices[0].index, old.devices[0].index);
    let places = pins();
    assert_eq!(places.len(), 3, "{places:?}");
    assert!(!places.contains(&Place::Nowhere), "{places:?}");
    assert!(hooks(&bed.pod).iter().all(|hook| hook.len() == 1));
}

#[test]
fn a_link_that_was_taken_off_by_hand_is_made_again() {
    needs_root!();
    let (bed, directory) = (Bed::new(), Root::new());
    let root = directory.open();
    let generation = root.next_generation(ABI_VERSION).expect("a generation");
    let network = bed.pod.netns.network().expect("devices and addresses");
    let mut loaded = load_into(&generation);
    for _ in 0..2 {
        let attached = loaded.programs.attach_pod(&bed.pod.netns, &network);
        let links = attached.expect("the links");
        assert!(links.verify(&bed.pod.netns).expect("a look").is_empty());
        for pin in generation.pod_links(bed.pod.netns.cookie()).expect("pins") {
            let link = Link::open(&pin).expect("a link");
            link.detach().expect("it comes off");
            link.detach().expect("it is off");
        }
        assert_eq!(links.verify(&bed.pod.netns).expect("a look").len(), 3);
    }
}

/// Somebody else's program, where the kernel puts it when it is not asked for a place.
fn ordinary(cgroup: &File) -> (aya::Ebpf, u32) {
    let mut ebpf = somebody();
    let program = connect4(&mut ebpf);
    let attached = program.attach(cgroup, CgroupAttachMode::Single);
    attached.expect("a link");
    let id = program.info().expect("its id").id();
    (ebpf, id)
}

/// How far to the front this kernel puts programs of a cgroup.
pub(crate) fn precedence(cgroup: &File) -> Precedence {
    let mut ebpf = somebody();
    let program = connect4(&mut ebpf).fd().expect("it is loaded");
    let attached = Link::attach_cgroup(program.as_fd(), cgroup.as_fd(), Hook::Connect4);
    let (_link, precedence) = attached.expect("a link");
    precedence
}

fn somebody() -> aya::Ebpf {
    let object = Object::embedded().expect("the kernel programs");
    let mut ebpf = aya::Ebpf::load(object.bytes()).expect("an object");
    connect4(&mut ebpf).load().expect("a program");
    ebpf
}

fn connect4(ebpf: &mut aya::Ebpf) -> &mut CgroupSockAddr {
    let program = ebpf.program_mut("connect4").expect("it");
    program.try_into().expect("a connect program")
}

const CONNECT: [(&str, Hook); 5] = [
    ("connect4", Hook::Connect4),
    ("connect6", Hook::Connect6),
    ("getpeername4", Hook::GetPeerName4),
    ("getpeername6", Hook::GetPeerName6),
    ("sock_ops", Hook::SockOps),
];

#[test]
fn programs_of_the_cgroup_come_first_and_are_exchanged_in_place() {
    needs_root!();
    let cgroup_path = cgroup::root(None).expect("a cgroup v2 hierarchy");
    let cgroup = File::open(&cgroup_path).expect("the cgroup");
    let running = |hook| run_by(cgroup.as_fd(), hook).expect("a query");
    let directories = [Root::new(), Root::new()];
    let roots: Vec<PinRoot> = directories.iter().map(Root::open).collect();
    let generations = roots.iter().map(|root| root.next_generation(ABI_VERSION));
    let generations: Vec<Generation> = generations.map(|g| g.expect("a generation")).collect();
    let pinned = |generation: &Generation, name: &str| {
        let link = Link::open(&generation.cgroup_link(name)).expect("a link");
        link.info().expect("its program")
    };
    let precedence = precedence(&cgroup);
    // Somebody who did not ask to come early, before and after us.
    let (_early, early) = ordinary(&cgroup);
    // Two agents; the second comes before the first.
    for generation in &generations {
        let mut loaded = load_into(generation);
        loaded
            .programs
            .attach_cgroup(&cgroup_path)
            .expect("the links");
    }
    let (_late, late) = ordinary(&cgroup);
    for round in 0..2 {
        let all = running(Hook::Connect4);
        let place = |id| all.iter().position(|program| *program == id);
        let ours = |generation| place(pinned(generation, "connect4").program);
        let last = generations.iter().map(ours).max().flatten();
        // What the kernel cannot do better it does in the order in which they came.
        let is_first = last < place(early) && last < place(late);
        let is_in_turn = place(early) < last && last < place(late);
        match precedence {
            Precedence::First | Precedence::Early => assert!(is_first, "{all:?}"),
            Precedence::Late => assert!(is_in_turn, "{all:?}"),
        }
        for (name, hook) in CONNECT {
            let all = running(hook);
            let place = |generation: &Generation| {
                let id = pinned(generation, name).program;
                let found = all.iter().position(|program| *program == id);
                found.unwrap_or_else(|| panic!("{name} {id} in {all:?}, round {round}"))
            };
            let places: Vec<usize> = generations.iter().map(place).collect();
            match precedence {
                Precedence::First => {
                    assert!(places[1] < places[0], "{name}: {places:?} of {all:?}")
                }
                Precedence::Early | Precedence::Late => {
                    assert!(places[0] < places[1], "{name}: {places:?} of {all:?}");
                }
            }
        }
        // Upgrades keep their place, whichever is upgraded.
        for generation in &generations {
            let before = CONNECT.map(|(name, _)| pinned(generation, name));
            let mut loaded = load_into(generation);
            let links = loaded.programs.attach_cgroup(&cgroup_path);
            let links = links.expect("the links");
            let after = CONNECT.map(|(name, _)| pinned(generation, name));
            for (((name, hook), before), after) in CONNECT.iter().zip(before).zip(after) {
                assert_eq!(before.id, after.id, "{name}");
                assert_ne!(before.program, after.program, "{name}");
                assert!(!running(*hook).contains(&before.program), "{name}");
            }
            drop(links);
        }
    }
    for generation in &generations {
        let old = CONNECT.map(|(name, _)| pinned(generation, name).program);
        let mut loaded = load_into(generation);
        let links = loaded.programs.attach_cgroup(&cgroup_path);
        links.expect("the links").detach().expect("they come off");
        for ((name, hook), old) in CONNECT.iter().zip(old) {
            assert!(!running(*hook).contains(&old), "{name}");
        }
        assert!(generation.cgroup_links().expect("a list").is_empty());
    }
}
