//! Programs of somebody else on the hooks that waysteer uses: they count, drop what they are told
//! to, or rewrite addresses. Made of single instructions, so that they owe nothing to what is
//! tested.

mod bpf;
mod empty;
mod everywhere;

use std::fs::File;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::netns::NetNs;
use bpf::{Request, count_calls, load, word};
pub use empty::empty;
pub use everywhere::Everywhere;

// Of `linux/bpf.h`.
const MAP_CREATE: i64 = 0;
const MAP_LOOKUP: i64 = 1;
const LINK_CREATE: i64 = 28;
const MAP_ARRAY: u32 = 2;
const PROG_SCHED_CLS: u32 = 3;
const PROG_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_CONNECT4: u32 = 10;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
const F_BEFORE: u32 = 1 << 3;
const F_PREORDER: u32 = 1 << 6;
/// Offsets in `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

/// Which way packets go that a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

/// Where among the programs that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// As whoever does not care.
    Last,
    /// In front of all that are there now.
    First,
}

/// An attached program that counts its calls; it goes away when dropped.
#[derive(Debug)]
pub struct Foreign {
    counter: OwnedFd,
    program: OwnedFd,
    _link: OwnedFd,
}

/// What is attached, and to what.
struct Spec<'a> {
    kind: u32,
    hook: u32,
    target: u32,
    flags: u32,
    /// What it does besides counting; r6 holds the context.
    body: &'a [u64],
    result: i32,
}

impl Foreign {
    /// The name that the kernel shows.
    pub const NAME: &str = "stranger";

    /// Counts the packets of a device, after the programs that are there already.
    pub fn on_device(netns: &NetNs, device: &str, direction: Direction) -> Result<Self> {
        Self::tcx(netns, device, direction, Place::Last, &[])
    }

    /// Counts the packets of a device.
    pub fn on_device_at(
        netns: &NetNs,
        device: &str,
        direction: Direction,
        place: Place,
    ) -> Result<Self> {
        Self::tcx(netns, device, direction, place, &[])
    }

    /// Drops what comes in for an address's TCP port, and counts everything.
    pub fn dropping(netns: &NetNs, device: &str, to: SocketAddr) -> Result<Self> {
        // If r0 != port, skip two.
        let other = word(0x55, 0, 2, i32::from(to.port()));
        Self::dropping_ports(netns, device, to.is_ipv4(), other)
    }

    /// The same, of this port and all above it.
    pub fn dropping_from(netns: &NetNs, device: &str, to: SocketAddr) -> Result<Self> {
        // If r0 < port, skip two.
        let below = word(0xa5, 0, 2, i32::from(to.port()));
        Self::dropping_ports(netns, device, to.is_ipv4(), below)
    }

    fn dropping_ports(netns: &NetNs, device: &str, v4: bool, is_other: u64) -> Result<Self> {
        let (ethertype, protocol, header) = if v4 { (0x0800, 9, 20) } else { (0x86dd, 6, 40) };
        // Behind the Ethernet header and an IP header without options.
        let offset = 14 + header + 2;
        let drop = [
            // r0 = the ethertype; if r0 is another, skip six.
            word(0x28, 0, 0, 12),
            word(0x55, 0, 6, ethertype),
            // r0 = the protocol; if r0 is not TCP, skip four.
            word(0x30, 0, 0, 14 + protocol),
            word(0x55, 0, 4, 6),
            // r0 = the half word at `offset`.
            word(0x28, 0, 0, offset),
            is_other,
            word(0xb7, 0, 0, TCX_DROP),
            word(0x95, 0, 0, 0),
        ];
        Self::tcx(netns, device, Direction::Ingress, Place::Last, &drop)
    }

    /// Counts the IPv4 `connect()` calls of a cgroup.
    pub fn on_connect(cgroup: &Path) -> Result<Self> {
        Self::connect4(cgroup, Place::Last, &[])
    }

    /// Sends IPv4 `connect()` calls of a cgroup elsewhere, as socket load balancers do with a
    /// service's address, and counts all.
    pub fn rewriting(
        cgroup: &Path,
        place: Place,
        from: SocketAddrV4,
        to: SocketAddrV4,
    ) -> Result<Self> {
        let ip = |address: SocketAddrV4| i32::from_ne_bytes(address.ip().octets());
        let port = |address: SocketAddrV4| i32::from(address.port().to_be());
        let rewrite = [
            // r1 = user_ip4; if it is not `from`, skip six; the same with the port.
            word(0x61, 0x61, USER_IP4, 0),
            word(0x56, 1, 6, ip(from)),
            word(0x61, 0x61, USER_PORT, 0),
            word(0x56, 1, 4, port(from)),
            word(0xb4, 1, 0, ip(to)),
            word(0x63, 0x16, USER_IP4, 0),
            word(0xb4, 1, 0, port(to)),
            word(0x63, 0x16, USER_PORT, 0),
        ];
        Self::connect4(cgroup, place, &rewrite)
    }

    /// What the kernel knows the program by.
    pub fn id(&self) -> Result<u32> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let text = std::fs::read_to_string(path)?;
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        Ok(id.context("a program's id")?.trim().parse()?)
    }

    /// Calls so far.
    pub fn count(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut request = Request::default();
        request.put(self.counter.as_raw_fd() as u32);
        request.put(0);
        request.put_address((&raw const key).cast());
        request.put_address((&raw mut value).cast());
        // SAFETY: key and value are locals of the sizes that the map was made with.
        unsafe { request.call(MAP_LOOKUP) }.context("the counter of a foreign program")?;
        Ok(value)
    }

    fn connect4(cgroup: &Path, place: Place, body: &[u64]) -> Result<Self> {
        let cgroup = File::open(cgroup)?;
        Self::attach(&Spec {
            kind: PROG_CGROUP_SOCK_ADDR,
            hook: CGROUP_CONNECT4,
            target: u32::try_from(cgroup.as_raw_fd())?,
            flags: match place {
                Place::Last => 0,
                // Before those of cgroups below, too.
                Place::First => F_BEFORE | F_PREORDER,
            },
            body,
            result: 1,
        })
    }

    fn tcx(
        netns: &NetNs,
        device: &str,
        direction: Direction,
        place: Place,
        body: &[u64],
    ) -> Result<Self> {
        netns.run(|| {
            Self::attach(&Spec {
                kind: PROG_SCHED_CLS,
                hook: match direction {
                    Direction::Ingress => TCX_INGRESS,
                    Direction::Egress => TCX_EGRESS,
                },
                target: if_nametoindex(device)?,
                flags: match place {
                    Place::Last => 0,
                    Place::First => F_BEFORE,
                },
                body,
                result: TCX_NEXT,
            })
        })
    }

    fn attach(spec: &Spec<'_>) -> Result<Self> {
        let mut request = Request::default();
        for field in [MAP_ARRAY, 4, 8, 1] {
            request.put(field);
        }
        // SAFETY: the request holds no address.
        let counter = unsafe { request.open(MAP_CREATE) }.context("a foreign program's map")?;
        let mut code = count_calls(counter.as_raw_fd());
        code.extend(spec.body);
        code.extend([word(0xb7, 0, 0, spec.result), word(0x95, 0, 0, 0)]);
        let is_packet_program = spec.kind == PROG_SCHED_CLS;
        let made_for = if is_packet_program { 0 } else { spec.hook };
        let program = load(spec.kind, made_for, Self::NAME, &code).context("a foreign program")?;
        let mut request = Request::default();
        request.put(program.as_raw_fd() as u32);
        for field in [spec.target, spec.hook, spec.flags] {
            request.put(field);
        }
        // SAFETY: the request holds no address.
        let link = unsafe { request.open(LINK_CREATE) }.context("a foreign program's link")?;
        Ok(Self {
            counter,
            program,
            _link: link,
        })
    }
}
