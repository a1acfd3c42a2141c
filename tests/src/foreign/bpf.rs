//! Instructions one by one, and bpf(2) as it is.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::libc;

const PROG_LOAD: i64 = 5;

/// Adds one to the map's only value; r6 holds the context afterwards.
pub(super) fn count_calls(map: i32) -> Vec<u64> {
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
pub(super) fn word(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, i0, i1, i2, i3])
}

/// Loads a program under a name of at most 15 bytes, for one hook where the kind wants to know it.
pub(super) fn load(kind: u32, hook: u32, name: &str, code: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut request = Request::default();
    request.put(kind);
    request.put(u32::try_from(code.len()).map_err(io::Error::other)?);
    request.put_address(code.as_ptr().cast());
    request.put_address(license.as_ptr().cast());
    request.skip_to(48);
    request.extend(name.as_bytes());
    request.skip_to(68);
    request.put(hook);
    // SAFETY: the code and the licence live until after the call.
    unsafe { request.open(PROG_LOAD) }
}

/// `union bpf_attr`, filled from its start.
#[repr(C, align(8))]
pub(super) struct Request {
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
    pub(super) fn put(&mut self, value: u32) {
        self.extend(&value.to_ne_bytes());
    }

    pub(super) fn put_address(&mut self, address: *const u8) {
        self.extend(&(address.expose_provenance() as u64).to_ne_bytes());
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    pub(super) fn skip_to(&mut self, offset: usize) {
        self.length = offset;
    }

    /// # Safety
    /// The addresses in the request must be valid for what the command does with them.
    pub(super) unsafe fn open(&self, command: i64) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: the command has returned a descriptor that nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// # Safety
    /// The addresses in the request must be valid for what the command does with them.
    pub(super) unsafe fn call(&self, command: i64) -> io::Result<i32> {
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
