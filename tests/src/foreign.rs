//! Programs of somebody else on the hooks that waysteer uses: they count, or drop what they are
//! told to. Made of single instructions, so that they owe nothing to what is tested.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;

use crate::netns::NetNs;

// Of `linux/bpf.h`.
const MAP_CREATE: i64 = 0;
const MAP_LOOKUP: i64 = 1;
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
const MAP_ARRAY: u32 = 2;
const PROG_SCHED_CLS: u32 = 3;
const PROG_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_CONNECT4: u32 = 10;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;

/// Which way packets go that a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

/// An attached program that counts its calls; it goes away when dropped.
#[derive(Debug)]
pub struct Foreign {
    counter: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Foreign {
    /// Counts the packets of a device, after the programs that are there already.
    pub fn on_device(netns: &NetNs, device: &str, direction: Direction) -> Result<Self> {
        Self::tcx(netns, device, direction, &[])
    }

    /// Drops what comes in for an address's TCP port, and counts everything.
    pub fn dropping(netns: &NetNs, device: &str, to: SocketAddr) -> Result<Self> {
        // Behind the Ethernet header and an IP header without options.
        let offset = 14 + if to.is_ipv4() { 20 } else { 40 } + 2;
        let drop = [
            // r0 = the half word at `offset`; if r0 != port, skip two.
            word(0x28, 0, 0, offset),
            word(0x55, 0, 2, i32::from(to.port())),
            word(0xb7, 0, 0, TCX_DROP),
            word(0x95, 0, 0, 0),
        ];
        Self::tcx(netns, device, Direction::Ingress, &drop)
    }

    /// Counts the IPv4 `connect()` calls of a cgroup.
    pub fn on_connect(cgroup: &Path) -> Result<Self> {
        let cgroup = File::open(cgroup)?;
        let target = u32::try_from(cgroup.as_raw_fd())?;
        Self::attach(PROG_CGROUP_SOCK_ADDR, CGROUP_CONNECT4, target, &[], 1)
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

    fn tcx(netns: &NetNs, device: &str, direction: Direction, filter: &[u64]) -> Result<Self> {
        let attach = match direction {
            Direction::Ingress => TCX_INGRESS,
            Direction::Egress => TCX_EGRESS,
        };
        netns.run(|| {
            let index = if_nametoindex(device)?;
            Self::attach(PROG_SCHED_CLS, attach, index, filter, TCX_NEXT)
        })
    }

    fn attach(kind: u32, hook: u32, target: u32, filter: &[u64], result: i32) -> Result<Self> {
        let mut request = Request::default();
        for field in [MAP_ARRAY, 4, 8, 1] {
            request.put(field);
        }
        // SAFETY: the request holds no address.
        let counter = unsafe { request.open(MAP_CREATE) }.context("a foreign program's map")?;
        let mut code = count_calls(counter.as_raw_fd());
        code.extend(filter);
        code.extend([word(0xb7, 0, 0, result), word(0x95, 0, 0, 0)]);
        let license = c"GPL";
        let mut request = Request::default();
        request.put(kind);
        request.put(u32::try_from(code.len())?);
        request.put_address(code.as_ptr().cast());
        request.put_address(license.as_ptr().cast());
        request.skip_to(68);
        request.put(if kind == PROG_SCHED_CLS { 0 } else { hook });
        // SAFETY: the code and the licence live until after the call.
        let program = unsafe { request.open(PROG_LOAD) }.context("a foreign program")?;
        let mut request = Request::default();
        request.put(program.as_raw_fd() as u32);
        request.put(target);
        request.put(hook);
        // SAFETY: the request holds no address.
        let link = unsafe { request.open(LINK_CREATE) }.context("a foreign program's link")?;
        Ok(Self {
            counter,
            _program: program,
            _link: link,
        })
    }
}

/// Adds one to the map's only value; r6 holds the context afterwards.
fn count_calls(map: i32) -> Vec<u64> {
    vec![
        word(0xbf, 0x16, 0, 0),
        // r1 = map, r2 = &key.
        word(0x62, 10, -4, 0),
        word(0x18, 0x11, 0, map),
        0,
        word(0xbf, 0xa2, 0, 0),
        word(0x07, 2, 0, -4),
        // r0 = map_lookup_elem(); if not null, *r0 += 1.
        word(0x85, 0, 0, 1),
        word(0x15, 0, 2, 0),
        word(0xb7, 1, 0, 1),
        word(0xdb, 0x10, 0, 0),
    ]
}

/// `struct bpf_insn`.
fn word(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, i0, i1, i2, i3])
}

/// `union bpf_attr`, filled from its start.
#[repr(C, align(8))]
struct Request {
    bytes: [u8; 120],
    length: usize,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            bytes: [0; 120],
            length: 0,
        }
    }
}

impl Request {
    fn put(&mut self, value: u32) {
        self.extend(&value.to_ne_bytes());
    }

    fn put_address(&mut self, address: *const u8) {
        self.extend(&(address.expose_provenance() as u64).to_ne_bytes());
    }

    fn extend(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    fn skip_to(&mut self, offset: usize) {
        self.length = offset;
    }

    /// # Safety
    /// The addresses in the request must be valid for what the command does with them.
    unsafe fn open(&self, command: i64) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: the command has returned a descriptor that nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// # Safety
    /// The addresses in the request must be valid for what the command does with them.
    unsafe fn call(&self, command: i64) -> io::Result<i32> {
        // SAFETY: the bytes are as many as the kernel is told; the rest is the caller's promise.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                self.bytes.as_ptr(),
                self.bytes.len(),
            )
        };
        i32::try_from(result)
            .ok()
            .filter(|result| *result >= 0)
            .ok_or_else(io::Error::last_os_error)
    }
}
