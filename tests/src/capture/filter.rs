//! What the kernel hands to a capture: classic BPF, for traffic of which almost nothing is wanted.

use std::io;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::libc::{self, sock_filter, sock_fprog};
use socket2::Socket;

const ETHERNET: u32 = 14;
const ACCEPT: u32 = u32::MAX;

/// TCP to or from some ports, or with a payload that begins in a certain way.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<sock_filter>,
}

/// Where a jump leads before all is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Next,
    Label(&'static str),
}

/// A program in the making: instructions with their jumps, and labels between them.
#[derive(Debug, Default)]
struct Assembly {
    code: Vec<(u32, u32, Target, Target)>,
    labels: Vec<(&'static str, usize)>,
}

impl Filter {
    /// `begin` is the payload's first four bytes. IPv6 extension headers are not looked behind.
    pub fn new(ports: &[u16], begin: u32) -> Result<Self> {
        use Target::{Label, Next};
        use libc::{
            BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP,
            BPF_JSET, BPF_LD, BPF_LDX, BPF_MISC, BPF_MSH, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X,
        };
        let (yes, no) = (Label("accept"), Label("reject"));
        let (equal, half) = (BPF_JMP | BPF_JEQ, BPF_LD | BPF_H);
        let mut code = Assembly::default();
        code.add(half | BPF_ABS, 12);
        code.jump(equal, 0x0800, Next, Label("v6"));
        code.add(BPF_LD | BPF_B | BPF_ABS, ETHERNET + 9);
        code.jump(equal, 6, Next, no);
        // A later fragment has no ports.
        code.add(half | BPF_ABS, ETHERNET + 6);
        code.jump(BPF_JMP | BPF_JSET, 0x1fff, no, Next);
        code.add(BPF_LDX | BPF_MSH | BPF_B, ETHERNET);
        // No jump is shorter: anything equals itself or does not.
        code.jump(equal, 0, Label("tcp"), Label("tcp"));
        code.label("v6");
        code.jump(equal, 0x86dd, Next, no);
        code.add(BPF_LD | BPF_B | BPF_ABS, ETHERNET + 6);
        code.jump(equal, 6, Next, no);
        code.add(BPF_LDX | BPF_W | BPF_IMM, 40);
        // Now the index is the length of the IP header.
        code.label("tcp");
        for side in [0, 2] {
            code.add(half | BPF_IND, ETHERNET + side);
            for port in ports {
                code.jump(equal, u32::from(*port), yes, Next);
            }
        }
        code.add(BPF_LD | BPF_B | BPF_IND, ETHERNET + 12);
        code.add(BPF_ALU | BPF_RSH, 2);
        code.add(BPF_ALU | BPF_AND, 0x3c);
        code.add(BPF_ALU | BPF_ADD | BPF_X, 0);
        code.add(BPF_MISC | BPF_TAX, 0);
        // Behind the end of the packet there is nothing, and the program ends with "no".
        code.add(BPF_LD | BPF_W | BPF_IND, ETHERNET);
        code.jump(equal, begin, yes, no);
        code.label("accept");
        code.add(BPF_RET, ACCEPT);
        code.label("reject");
        code.add(BPF_RET, 0);
        Ok(Self {
            program: code.finish()?,
        })
    }

    pub(super) fn attach(&self, socket: &Socket) -> io::Result<()> {
        let program = sock_fprog {
            len: u16::try_from(self.program.len()).map_err(io::Error::other)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies the program, which outlives the call and is not written to.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<sock_fprog>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Assembly {
    fn add(&mut self, code: u32, k: u32) {
        self.code.push((code, k, Target::Next, Target::Next));
    }

    fn jump(&mut self, code: u32, k: u32, yes: Target, no: Target) {
        self.code.push((code, k, yes, no));
    }

    fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.code.len()));
    }

    fn finish(&self) -> Result<Vec<sock_filter>> {
        let distance = |at: usize, target: Target| -> Result<u8> {
            let Target::Label(name) = target else {
                return Ok(0);
            };
            let label = self.labels.iter().find(|(label, _)| *label == name);
            let (_, to) = label.with_context(|| format!("no label {name}"))?;
            let skipped = to.checked_sub(at + 1).context("jumps lead onwards")?;
            u8::try_from(skipped).context("a jump is too long")
        };
        let code = self.code.iter().enumerate();
        code.map(|(at, (code, k, yes, no))| {
            Ok(sock_filter {
                code: u16::try_from(*code)?,
                jt: distance(at, *yes)?,
                jf: distance(at, *no)?,
                k: *k,
            })
        })
        .collect()
    }
}
