//! That each capability of the table is needed: the kernel refuses without it.

use nix::libc;
use waysteer::kernel::netns::PodNetns;
use waysteer::kernel::privileges::{self, CAPABILITIES};
use waysteer::kernel::redirect::Redirect;

use super::bed::Bed;
use super::needs_root;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Runs on a thread, and those that it starts, without a capability.
fn without<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let capability = CAPABILITIES
        .iter()
        .find(|capability| capability.name == name);
    let bit = capability.expect("it is in the table").bit;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut header = Header {
                version: VERSION_3,
                pid: 0,
            };
            let mut sets = [Sets::default(); 2];
            // SAFETY: header and sets have the layout of version 3, which writes two sets.
            let got =
                unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
            assert_eq!(got, 0);
            sets[0].effective &= !(1 << bit);
            // SAFETY: as above; only this thread's sets change.
            let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
            assert_eq!(set, 0);
            work()
        });
        thread.join().expect("no panic")
    })
}

#[test]
fn nobody_enters_a_netns_without_sys_admin() {
    needs_root!();
    let bed = Bed::new();
    let path = bed.pod.netns.path();
    // What lacks is looked up as it is said.
    let said = || PodNetns::open(path).unwrap_err().to_string();
    let said = without("CAP_SYS_ADMIN", said);
    assert!(said.contains("lacks CAP_SYS_ADMIN"), "{said}");
    PodNetns::open(path).expect("with it it works");
}

#[test]
fn nobody_sets_routes_without_net_admin() {
    needs_root!();
    let bed = Bed::new();
    let netns = &bed.pod.netns;
    let network = netns.network().expect("the network");
    let refused = without("CAP_NET_ADMIN", || Redirect::install(netns, &network));
    refused.expect_err("the kernel refuses");
    let redirect = Redirect::install(netns, &network).expect("with it it works");
    redirect.remove(netns).expect("it is undone");
}

#[test]
fn what_is_missing_is_said_before_anything_is_done() {
    needs_root!();
    privileges::require().expect("root has all");
    for capability in CAPABILITIES {
        let required = without(capability.name, privileges::require);
        match capability.only_if {
            None => {
                let said = required.unwrap_err().to_string();
                assert!(said.contains(capability.name), "{said}");
                assert!(said.contains(capability.needed_for), "{said}");
            }
            Some(_) => required.expect("not everybody needs it"),
        }
    }
}
