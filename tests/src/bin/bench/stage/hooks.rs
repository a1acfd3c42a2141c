//! Empty programs on every hook that an agent has programs on, under the rules and the route of an
//! enrolled pod: what an agent of this design costs however little its programs do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use waysteer::kernel::link::{Hook, Link};
use waysteer_tests::foreign::empty;
use waysteer_tests::netns::NetNs;
use waysteer_tests::process::Scratch;

use crate::cgroup::{Cgroup, Parent};

/// In the agent's order, by the names of the agent's programs.
const OF_CGROUP: [(&str, Hook); 5] = [
    ("getpeername4", Hook::GetPeerName4),
    ("getpeername6", Hook::GetPeerName6),
    ("sock_ops", Hook::SockOps),
    ("connect4", Hook::Connect4),
    ("connect6", Hook::Connect6),
];
const OF_DEVICES: [(&str, &str, Hook); 3] = [
    ("lo_ingress", "lo", Hook::TcxIngress),
    ("pod_egress", "eth0", Hook::TcxEgress),
    ("pod_ingress", "eth0", Hook::TcxIngress),
];

/// Dropped, they are gone: nothing is pinned.
#[derive(Debug)]
pub(crate) struct Empty {
    programs: BTreeMap<&'static str, Attached>,
    /// For those who are to be under them.
    pub(super) cgroup: Cgroup,
}

#[derive(Debug)]
struct Attached {
    program: OwnedFd,
    _link: Link,
}

impl Empty {
    /// The pod has its rules and its route already.
    pub(super) fn attach(netns: &NetNs, parent: &Parent, scratch: &Scratch) -> Result<Self> {
        let cgroup = parent.child("empty", scratch)?;
        let directory = File::open(cgroup.path())?;
        let on_cgroup = |program: &OwnedFd, hook| {
            let attached = Link::attach_cgroup(program.as_fd(), directory.as_fd(), hook);
            Ok(attached?.0)
        };
        let mut programs = BTreeMap::new();
        for (name, hook) in OF_CGROUP {
            let attached = Attached::new(hook, |program| on_cgroup(program, hook));
            programs.insert(name, attached.context(name)?);
        }
        for (name, device, hook) in OF_DEVICES {
            let on_device = |program: &OwnedFd| {
                let index = if_nametoindex(device)?;
                Ok(Link::attach_tcx(program.as_fd(), index, hook)?)
            };
            let attached = netns.run(|| Attached::new(hook, on_device));
            programs.insert(name, attached.context(name)?);
        }
        Ok(Self { programs, cgroup })
    }

    /// Runs and nanoseconds of one of them so far, as the kernel counts them while it is told to.
    pub(crate) fn ran(&self, name: &str) -> Result<Option<(u64, u64)>> {
        let Some(Attached { program, _link }) = self.programs.get(name) else {
            return Ok(None);
        };
        let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
        let text = fs::read_to_string(path)?;
        let number = |label: &str| -> Result<u64> {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
            let value = value.with_context(|| format!("the kernel does not tell {label}"))?;
            Ok(value.trim().parse()?)
        };
        Ok(Some((number("run_cnt")?, number("run_time_ns")?)))
    }
}

impl Attached {
    fn new(hook: Hook, attach: impl FnOnce(&OwnedFd) -> Result<Link>) -> Result<Self> {
        let program = empty(hook).context("an empty program")?;
        let link = attach(&program).context("the link of an empty program")?;
        Ok(Self {
            program,
            _link: link,
        })
    }
}
