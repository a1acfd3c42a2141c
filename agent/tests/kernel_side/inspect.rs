//! One look at a pod's netns sees everything that capture depends on.

use std::time::Instant;

use waysteer::kernel::inspect::PodSight;
use waysteer::kernel::link::Hook;
use waysteer::kernel::load::LoadOptions;
use waysteer::kernel::redirect::Redirect;

use crate::bed::Bed;
use crate::{load, needs_root};

#[test]
fn what_is_there_and_what_is_missing() {
    needs_root!();
    let bed = Bed::new();
    let pod = &bed.pod;
    let look = || -> PodSight { pod.netns.inspect().expect("a look") };
    let network = pod.netns.network().expect("devices and addresses");
    let eth0 = network.devices[0].index;
    let before = look();
    assert_eq!(before.network, network);
    assert_eq!(before.no_listener.len(), 3);
    assert!(before.redirect.len() > 5, "{:?}", before.redirect);
    assert!(before.programs_at(eth0, Hook::TcxEgress).is_empty());

    let mut loaded = load(&LoadOptions::default());
    let redirect = Redirect::install(&pod.netns, &network).expect("rules and routes");
    let links = loaded.programs.attach_pod(&pod.netns, &network);
    let links = links.expect("the links");
    let sight = look();
    assert!(sight.redirect.is_empty(), "{:?}", sight.redirect);
    let hooks = [
        (1, Hook::TcxIngress),
        (eth0, Hook::TcxEgress),
        (eth0, Hook::TcxIngress),
    ];
    for (device, hook) in hooks {
        assert_eq!(sight.programs_at(device, hook).len(), 1, "{hook:?}");
    }
    pod.ip("rule del priority 100");
    pod.ip("link set eth0 name renamed");
    let sight = look();
    assert_eq!(sight.redirect.len(), 1, "{:?}", sight.redirect);
    assert_eq!(sight.network.devices[0].name, "renamed");
    assert_eq!(sight.network.devices[0].index, eth0);

    // Not a benchmark: it says what a look costs on the machine at hand.
    let start = Instant::now();
    for _ in 0..100 {
        look();
    }
    eprintln!("a look: {:?}", start.elapsed() / 100);
    links.detach().expect("detached");
    redirect.remove(&pod.netns).expect("removed");
    let after = look();
    assert_eq!(after.redirect, before.redirect);
    assert_eq!(after.programs, before.programs);
}
