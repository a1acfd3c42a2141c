//! Whoever came before us is behind us again, and stays.

use std::fs::File;
use std::os::fd::AsFd;

use waysteer::kernel::cgroup;
use waysteer::kernel::hooks::run_by;
use waysteer::kernel::link::{Hook, Link, Precedence};
use waysteer_common::abi::names::ABI_VERSION;

use crate::bed::Bed;
use crate::load;
use crate::needs_root;
use crate::pins::{Root, hooks, load_into, precedence};

#[test]
fn programs_of_a_pod_come_first_again() {
    needs_root!();
    let (bed, directory) = (Bed::new(), Root::new());
    let root = directory.open();
    let generation = root.next_generation(ABI_VERSION).expect("a generation");
    let network = bed.pod.netns.network().expect("devices and addresses");
    let eth0 = network.devices[0].index;
    let mut ours = load_into(&generation);
    let links = ours.programs.attach_pod(&bed.pod.netns, &network);
    let mut links = links.expect("the links");
    let alone = hooks(&bed.pod);
    let mut other = load(&Default::default());
    let foreign = other.programs.attach_pod(&bed.pod.netns, &network);
    let _foreign = foreign.expect("the links");
    let behind = hooks(&bed.pod);
    assert!(behind.iter().all(|hook| hook.len() == 2), "{behind:?}");
    assert_eq!(links.verify(&bed.pod.netns).expect("a look").len(), 3);

    let which = [(eth0, "pod_egress"), (1, "lo_ingress")];
    let put = ours.programs.put_first(&bed.pod.netns, &mut links, &which);
    put.expect("they come first");
    let [lo, egress, ingress] = <[Vec<u32>; 3]>::try_from(hooks(&bed.pod)).expect("three");
    assert_eq!(lo, [alone[0][0], behind[0][0]]);
    assert_eq!(egress, [alone[1][0], behind[1][0]]);
    assert_eq!(ingress, behind[2], "nobody asked for this one");
    // The pins name the new links.
    drop((links, ours));
    let pins = generation.pod_links(bed.pod.netns.cookie()).expect("pins");
    assert_eq!(pins.len(), 3);
    for pin in pins {
        Link::open(&pin)
            .expect("a link")
            .detach()
            .expect("it comes off");
    }
    let left = hooks(&bed.pod);
    assert!(left.iter().all(|hook| hook.len() == 1), "{left:?}");
}

#[test]
fn programs_of_the_cgroup_come_first_again() {
    needs_root!();
    let path = cgroup::root(None).expect("a cgroup v2 hierarchy");
    let cgroup = File::open(&path).expect("the cgroup");
    let precedence = precedence(&cgroup);
    let running = |hook| run_by(cgroup.as_fd(), hook).expect("a query");
    let directories = [Root::new(), Root::new()];
    let roots = [directories[0].open(), directories[1].open()];
    let generations = roots
        .each_ref()
        .map(|root| root.next_generation(ABI_VERSION).expect("a generation"));
    let mut agents = generations.each_ref().map(load_into);
    let mut links = Vec::new();
    for agent in &mut agents {
        links.push(agent.programs.attach_cgroup(&path).expect("the links"));
    }
    let [ours, other] = &mut agents;
    let place = |id| {
        running(Hook::Connect4)
            .iter()
            .position(|program| *program == id)
    };
    let id = |loaded: &waysteer::kernel::load::Loaded| {
        let hooks = loaded.programs.at_cgroup().expect("ids");
        hooks
            .iter()
            .find(|hook| hook.0 == "connect4")
            .expect("it")
            .2
    };
    let (our_id, other_id) = (id(ours), id(other));
    let is_first = |id, before| place(id).is_some() && place(id) < place(before);
    match precedence {
        Precedence::First => assert!(is_first(other_id, our_id)),
        // Who comes last is last, and whoever tries again does no harm.
        Precedence::Early | Precedence::Late => assert!(is_first(our_id, other_id)),
    }
    let put = ours.programs.put_cgroup_first(&path, &["connect4"]);
    put.expect("it is attached anew");
    match precedence {
        Precedence::First => assert!(is_first(our_id, other_id)),
        Precedence::Early | Precedence::Late => assert!(is_first(other_id, our_id)),
    }
    // Other agents of the machine come and go meanwhile.
    let all = running(Hook::Connect4);
    for id in [our_id, other_id] {
        assert_eq!(all.iter().filter(|program| **program == id).count(), 1);
    }
    for links in links {
        links.detach().expect("they come off");
    }
    assert_eq!((place(our_id), place(other_id)), (None, None));
}
