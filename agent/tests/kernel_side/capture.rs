//! Rules, routes and parameters come, are watched, and go without a trace.

use waysteer::kernel::netns::{PodDevice, PodNetns};
use waysteer::kernel::redirect::{Drift, Family, Redirect, RedirectError};
use waysteer_common::abi::names::{RETURN_MARK, STEER_MARK};

use crate::bed::{Bed, Namespace, POD_V4, POD_V6, address};
use crate::needs_root;

const FWMARK_ACCEPT: &str = "net/ipv4/tcp_fwmark_accept";
const FWMARK_REFLECT: &str = "net/ipv4/fwmark_reflect";
const FWMARK_REFLECT_V6: &str = "net/ipv6/fwmark_reflect";
const ACCEPT_LOCAL: &str = "net/ipv4/conf/lo/accept_local";
const SRC_VALID_MARK: &str = "net/ipv4/conf/lo/src_valid_mark";

/// All that a redirection could touch.
fn snapshot(namespace: &Namespace) -> Vec<String> {
    let mut all: Vec<String> = [
        "-4 -N rule list",
        "-6 -N rule list",
        "-4 -N route list table all",
        "-6 -N route list table all",
        "link show lo",
    ]
    .iter()
    .map(|arguments| namespace.ip(arguments))
    .collect();
    let sysctls = [
        FWMARK_ACCEPT,
        FWMARK_REFLECT,
        FWMARK_REFLECT_V6,
        ACCEPT_LOCAL,
        SRC_VALID_MARK,
    ];
    all.extend(sysctls.map(|path| format!("{path} {}", namespace.read_sysctl(path))));
    all
}

fn install(namespace: &Namespace) -> Result<Redirect, RedirectError> {
    let network = namespace.netns.network().expect("devices and addresses");
    Redirect::install(&namespace.netns, &network)
}

#[test]
fn a_netns_is_known_by_its_cookie_and_shows_its_network() {
    needs_root!();
    let bed = Bed::new();
    let netns = &bed.pod.netns;
    let network = netns.network().expect("devices and addresses");
    let [
        PodDevice {
            index: _,
            name,
            up: true,
        },
    ] = network.devices.as_slice()
    else {
        panic!("{network:?}");
    };
    assert_eq!(name, "eth0");
    assert_eq!(network.addresses, [address(POD_V4), address(POD_V6)]);
    let again = PodNetns::open(&bed.pod.path()).expect("the netns");
    assert_eq!(again.cookie(), netns.cookie());
    assert_ne!(bed.world.netns.cookie(), netns.cookie());
    assert!(!netns.is_replaced());
    let file = tempfile();
    assert!(PodNetns::open(&file).is_err(), "a plain file is no netns");
    std::fs::remove_file(file).expect("the file");
}

#[test]
fn another_netns_under_the_same_path_is_noticed() {
    needs_root!();
    let (one, other) = (Bed::new(), Bed::new());
    let link = tempfile();
    std::fs::remove_file(&link).expect("the file");
    std::os::unix::fs::symlink(one.pod.path(), &link).expect("a link");
    let netns = PodNetns::open(&link).expect("the netns");
    assert!(!netns.is_replaced());
    std::fs::remove_file(&link).expect("the link");
    assert!(netns.is_replaced());
    std::os::unix::fs::symlink(other.pod.path(), &link).expect("a link");
    assert!(netns.is_replaced());
    std::fs::remove_file(&link).expect("the link");
}

#[test]
fn what_is_set_up_goes_without_a_trace() {
    needs_root!();
    let bed = Bed::new();
    bed.pod.ip("link set lo up");
    let before = snapshot(&bed.pod);
    let redirect = install(&bed.pod).expect("the redirection");
    assert_eq!(redirect.verify(&bed.pod.netns).expect("a look"), []);
    assert_ne!(snapshot(&bed.pod), before);
    redirect.remove(&bed.pod.netns).expect("the removal");
    assert_eq!(snapshot(&bed.pod), before);
}

#[test]
fn lo_goes_down_again_where_it_was_down() {
    needs_root!();
    let bed = Bed::new();
    assert!(!is_up(&bed.pod));
    let redirect = install(&bed.pod).expect("the redirection");
    assert!(is_up(&bed.pod));
    redirect.remove(&bed.pod.netns).expect("the removal");
    assert!(!is_up(&bed.pod));
}

fn is_up(namespace: &Namespace) -> bool {
    namespace.ip("link show lo").contains(",UP")
}

#[test]
fn setting_up_twice_is_the_same_as_once() {
    needs_root!();
    let bed = Bed::new();
    bed.pod.ip("link set lo up");
    let before = snapshot(&bed.pod);
    let first = install(&bed.pod).expect("the redirection");
    let once = snapshot(&bed.pod);
    let second = install(&bed.pod).expect("the redirection");
    assert_eq!(snapshot(&bed.pod), once);
    // Whoever comes second, such as an agent after a crash, removes what the first has added.
    second.remove(&bed.pod.netns).expect("the removal");
    first.remove(&bed.pod.netns).expect("the removal");
    assert_eq!(snapshot(&bed.pod), before);
}

#[test]
fn everything_that_breaks_is_reported_and_repaired() {
    needs_root!();
    let bed = Bed::new();
    let mut redirect = install(&bed.pod).expect("the redirection");
    let v4 = Family::V4 {
        source: POD_V4.parse().expect("an address"),
    };
    let sysctl = |name| Drift::SysctlChanged {
        name,
        found: "0".to_owned(),
    };
    type Breakage<'a> = (&'a dyn Fn(&Namespace), Vec<Drift>);
    let breakages: [Breakage<'_>; 8] = [
        (
            &|pod| drop(pod.ip(&format!("rule del priority 100 fwmark {STEER_MARK}/0xfff"))),
            vec![Drift::RuleMissing {
                family: v4,
                mark: STEER_MARK,
            }],
        ),
        (
            &|pod| drop(pod.ip("-6 rule flush")),
            vec![
                Drift::RuleMissing {
                    family: Family::V6,
                    mark: STEER_MARK,
                },
                Drift::RuleMissing {
                    family: Family::V6,
                    mark: RETURN_MARK,
                },
            ],
        ),
        (
            &|pod| drop(pod.ip("route flush table 100")),
            vec![Drift::RouteMissing { family: v4 }],
        ),
        (
            &|pod| drop(pod.ip("-6 route flush table 100")),
            vec![Drift::RouteMissing { family: Family::V6 }],
        ),
        (
            &|pod| pod.write_sysctl(FWMARK_ACCEPT, "0"),
            vec![sysctl(FWMARK_ACCEPT)],
        ),
        (
            &|pod| pod.write_sysctl(ACCEPT_LOCAL, "0"),
            vec![sysctl(ACCEPT_LOCAL)],
        ),
        (
            &|pod| pod.write_sysctl(SRC_VALID_MARK, "0"),
            vec![sysctl(SRC_VALID_MARK)],
        ),
        (
            &|pod| drop(pod.ip("link set lo down")),
            vec![
                // The kernel keeps the route of IPv4.
                Drift::LoopbackDown,
                Drift::RouteMissing { family: Family::V6 },
            ],
        ),
    ];
    for (break_it, expected) in breakages {
        break_it(&bed.pod);
        assert_eq!(redirect.verify(&bed.pod.netns).expect("a look"), expected);
        redirect.repair(&bed.pod.netns).expect("the repair");
        assert_eq!(redirect.verify(&bed.pod.netns).expect("a look"), []);
    }
}

#[test]
fn a_new_address_of_the_pod_is_followed() {
    needs_root!();
    let bed = Bed::new();
    let mut redirect = install(&bed.pod).expect("the redirection");
    bed.pod.ip("addr flush dev eth0");
    bed.pod.ip("addr add 10.77.0.9/24 dev eth0");
    let family = Family::V4 {
        source: "10.77.0.9".parse().expect("an address"),
    };
    let drifts = redirect.verify(&bed.pod.netns).expect("a look");
    assert_eq!(drifts, [Drift::RouteMissing { family }]);
    redirect.repair(&bed.pod.netns).expect("the repair");
    let routes = bed.pod.ip("route list table 100");
    assert!(
        routes.contains("src 10.77.0.9") && !routes.contains(POD_V4),
        "{routes}"
    );
}

#[test]
fn ipv6_is_left_out_where_it_is_disabled() {
    needs_root!();
    let bed = Bed::new();
    bed.pod.write_sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    let redirect = install(&bed.pod).expect("the redirection");
    assert_eq!(redirect.verify(&bed.pod.netns).expect("a look"), []);
    assert!(!bed.pod.ip("-6 rule list").contains("fwmark"));
}

#[test]
fn what_is_not_ours_stays() {
    needs_root!();
    let bed = Bed::new();
    bed.pod.ip("link set lo up");
    bed.pod.write_sysctl(ACCEPT_LOCAL, "1");
    bed.pod
        .ip("rule add fwmark 0x57e/0xfff lookup 100 priority 90");
    bed.pod.ip(&format!(
        "rule add fwmark {STEER_MARK}/0xfff lookup 100 priority 100"
    ));
    bed.pod.ip("route add 192.0.2.0/24 dev eth0 table 100");
    bed.pod.ip("-6 route add local default dev lo table 100");
    let before = snapshot(&bed.pod);
    let redirect = install(&bed.pod).expect("the redirection");
    // Somebody else's say after ours.
    bed.pod.write_sysctl(SRC_VALID_MARK, "2");
    redirect.remove(&bed.pod.netns).expect("the removal");
    bed.pod.write_sysctl(SRC_VALID_MARK, "0");
    assert_eq!(snapshot(&bed.pod), before);
}

#[test]
fn a_default_route_of_somebody_else_is_refused_and_nothing_stays() {
    needs_root!();
    let bed = Bed::new();
    bed.pod.ip("link set lo up");
    bed.pod.ip("route add default via 10.77.0.2 table 100");
    let before = snapshot(&bed.pod);
    let error = install(&bed.pod).expect_err("a conflict");
    assert!(
        matches!(error, RedirectError::ForeignRoute { .. }),
        "{error}"
    );
    assert_eq!(snapshot(&bed.pod), before);
}

fn tempfile() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wsk-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, b"").expect("a file");
    path
}
