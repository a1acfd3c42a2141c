//! Programs are attached first, watched, and detached without touching anybody else's.

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use waysteer::kernel::attach::LinkProblem;
use waysteer::kernel::cgroup;
use waysteer::kernel::load::LoadOptions;
use waysteer::kernel::object::Object;

use crate::bed::{Bed, Namespace, without_forks};
use crate::{load, needs_root};

const HOOKS: [(&str, TcAttachType); 4] = [
    ("lo", TcAttachType::Ingress),
    ("lo", TcAttachType::Egress),
    ("eth0", TcAttachType::Ingress),
    ("eth0", TcAttachType::Egress),
];

/// Names of the programs on every hook, in order, and the qdiscs.
fn attached(namespace: &Namespace) -> (Vec<Vec<String>>, String) {
    let programs = namespace.run(|| {
        HOOKS.map(|(device, direction)| {
            let (_, programs) = SchedClassifier::query_tcx(device, direction).expect("a query");
            programs
                .iter()
                .map(|p| p.name_as_str().expect("a name").to_owned())
                .collect()
        })
    });
    (programs.into(), namespace.run(|| namespace.ip("link show")))
}

/// Somebody else with a program at the same hook.
struct Stranger(aya::Ebpf);

impl Stranger {
    fn new() -> Self {
        let object = Object::embedded().expect("the kernel programs");
        let mut ebpf = aya::Ebpf::load(object.bytes()).expect("an object");
        program(&mut ebpf).load().expect("a program");
        Self(ebpf)
    }

    fn attach(&mut self, namespace: &Namespace, order: LinkOrder) {
        let program = program(&mut self.0);
        let options = TcAttachOptions::TcxOrder(order);
        let attach = || program.attach_with_options("eth0", TcAttachType::Egress, options);
        namespace.run(attach).expect("a link");
    }
}

fn program(ebpf: &mut aya::Ebpf) -> &mut SchedClassifier {
    ebpf.program_mut("explain")
        .expect("it")
        .try_into()
        .expect("a classifier")
}

#[test]
fn programs_come_first_and_go_without_a_trace() {
    needs_root!();
    let bed = Bed::new();
    let mut stranger = Stranger::new();
    stranger.attach(&bed.pod, LinkOrder::first());
    let before = attached(&bed.pod);
    let mut loaded = load(&LoadOptions::default());
    let network = bed.pod.netns.network().expect("devices and addresses");
    let links = loaded
        .programs
        .attach_pod(&bed.pod.netns, &network)
        .expect("the links");
    let (programs, _) = attached(&bed.pod);
    let expected: [&[&str]; 4] = [
        &["lo_ingress"],
        &[],
        &["pod_ingress"],
        &["pod_egress", "explain"],
    ];
    assert_eq!(programs, expected);
    assert!(links.verify(&bed.pod.netns).expect("a look").is_empty());
    assert_eq!(links.devices().collect::<Vec<_>>(), ["eth0"]);
    without_forks(|| drop(links));
    assert_eq!(attached(&bed.pod), before);
    // And again, with the same programs.
    loaded
        .programs
        .attach_pod(&bed.pod.netns, &network)
        .expect("the links");
}

#[test]
fn one_set_of_programs_serves_many_pods() {
    needs_root!();
    let (one, two) = (Bed::new(), Bed::new());
    let mut loaded = load(&LoadOptions::default());
    let mut attach = |namespace: &Namespace| {
        let network = namespace.netns.network().expect("devices and addresses");
        loaded
            .programs
            .attach_pod(&namespace.netns, &network)
            .expect("the links")
    };
    let (first, second) = (attach(&one.pod), attach(&two.pod));
    drop(first);
    assert!(second.verify(&two.pod.netns).expect("a look").is_empty());
}

#[test]
fn a_program_before_ours_and_a_lost_device_are_reported() {
    needs_root!();
    let bed = Bed::new();
    let mut loaded = load(&LoadOptions::default());
    let network = bed.pod.netns.network().expect("devices and addresses");
    let links = loaded
        .programs
        .attach_pod(&bed.pod.netns, &network)
        .expect("the links");
    Stranger::new().attach(&bed.pod, LinkOrder::first());
    let mut stranger = Stranger::new();
    stranger.attach(&bed.pod, LinkOrder::first());
    let drifts = links.verify(&bed.pod.netns).expect("a look");
    let [drift] = drifts.as_slice() else {
        panic!("{drifts:?}")
    };
    assert!(matches!(drift.problem, LinkProblem::NotFirst), "{drift}");
    assert_eq!(drift.to_string(), "pod_egress is not the first on eth0");
    bed.pod.ip("link del eth0");
    let drifts = links.verify(&bed.pod.netns).expect("a look");
    assert_eq!(drifts.len(), 2, "{drifts:?}");
    assert!(
        drifts
            .iter()
            .all(|drift| matches!(drift.problem, LinkProblem::Unknown(_)))
    );
}

#[test]
fn a_missing_device_leaves_nothing_attached() {
    needs_root!();
    let bed = Bed::new();
    let before = attached(&bed.pod);
    let mut loaded = load(&LoadOptions::default());
    let mut network = bed.pod.netns.network().expect("devices and addresses");
    let mut absent = network.devices[0].clone();
    absent.name = "eth9".to_owned();
    network.devices.push(absent);
    let attach = || loaded.programs.attach_pod(&bed.pod.netns, &network);
    let error = without_forks(attach).expect_err("no eth9");
    assert!(error.to_string().contains("eth9"), "{error}");
    assert_eq!(attached(&bed.pod), before);
}

#[test]
fn the_cgroup_takes_the_programs_of_two_agents() {
    needs_root!();
    let root = cgroup::root(None).expect("a cgroup v2 hierarchy");
    let (mut one, mut two) = (load(&LoadOptions::default()), load(&LoadOptions::default()));
    let first = one.programs.attach_cgroup(&root).expect("the links");
    let second = two.programs.attach_cgroup(&root).expect("the links");
    drop(first);
    drop(second);
    one.programs.attach_cgroup(&root).expect("the links");
    let error = one
        .programs
        .attach_cgroup("/no/such/cgroup".as_ref())
        .expect_err("no cgroup");
    assert!(error.to_string().contains("/no/such/cgroup"), "{error}");
}
