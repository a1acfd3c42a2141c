//! Links: one program at one hook. A link outlives the process while it is pinned, and its program
//! can be exchanged in one step, with no packet in between that sees none.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc::EINVAL;

use super::bpf::{
    self, Command, InfoAttr, LinkCreateAttr, LinkDetachAttr, LinkInfoBuffer, LinkUpdateAttr,
};

// Of `linux/bpf.h`.
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_PREORDER: u32 = 1 << 6;
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_TCX: u32 = 11;

/// A place for programs, with its number in `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    GetPeerName4 = 29,
    GetPeerName6 = 30,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// How far to the front a program of the cgroup root could be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// Before all that are there, and before those of cgroups below.
    First,
    /// Before all that did not ask to come early.
    Early,
    /// After those that are there.
    Late,
}

/// A link of ours.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

/// What the kernel tells of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub id: u32,
    /// Id of the program.
    pub program: u32,
    pub place: Place,
}

/// Where a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a device, whose index means something in its own netns only.
    Device {
        index: u32,
        attach_type: u32,
    },
    Cgroup {
        id: u64,
        attach_type: u32,
    },
    /// Detached: its device or cgroup is gone, or somebody took it off.
    Nowhere,
    /// At a hook that is none of ours.
    Elsewhere,
}

impl Link {
    /// Before all other programs of a device of the calling thread's netns.
    pub fn attach_tcx(program: BorrowedFd<'_>, device: u32, hook: Hook) -> io::Result<Self> {
        create(program, device, hook, BPF_F_BEFORE)
    }

    /// As far to the front as this kernel knows how to: `BPF_F_PREORDER` is of Linux 6.15,
    /// `BPF_F_BEFORE` for cgroups of 6.17.
    pub fn attach_cgroup(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        hook: Hook,
    ) -> io::Result<(Self, Precedence)> {
        let ladder = [
            (BPF_F_BEFORE | BPF_F_PREORDER, Precedence::First),
            (BPF_F_PREORDER, Precedence::Early),
            (0, Precedence::Late),
        ];
        let target = bpf::raw(cgroup)?;
        let mut last = io::Error::from_raw_os_error(EINVAL);
        for (flags, precedence) in ladder {
            match create(program, target, hook, flags) {
                Ok(link) => return Ok((link, precedence)),
                // A flag that the kernel does not know.
                Err(error) if error.raw_os_error() == Some(EINVAL) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub fn open(pin: &Path) -> io::Result<Self> {
        let link = Self { fd: bpf::get(pin)? };
        // Not everything that is pinned is a link.
        link.info()?;
        Ok(link)
    }

    pub fn pin(&self, path: &Path) -> io::Result<()> {
        bpf::pin(self.fd.as_fd(), path)
    }

    /// Exchanges the program in one step.
    pub fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr = LinkUpdateAttr {
            link: bpf::raw(self.fd.as_fd())?,
            program: bpf::raw(program)?,
            ..LinkUpdateAttr::default()
        };
        // SAFETY: the attributes hold no address.
        unsafe { bpf::call(Command::LinkUpdate, &mut attr) }.map(drop)
    }

    /// Takes the program off at once, whoever else has the link open or pinned. What is off
    /// already stays so.
    pub fn detach(&self) -> io::Result<()> {
        let mut attr = LinkDetachAttr {
            link: bpf::raw(self.fd.as_fd())?,
        };
        // SAFETY: the attributes hold no address.
        let detached = unsafe { bpf::call(Command::LinkDetach, &mut attr) };
        match detached {
            Err(_) if self.info()?.place == Place::Nowhere => Ok(()),
            detached => detached.map(drop),
        }
    }

    pub fn info(&self) -> io::Result<LinkInfo> {
        let mut info = LinkInfoBuffer::default();
        let mut attr = InfoAttr {
            fd: bpf::raw(self.fd.as_fd())?,
            length: size_of::<LinkInfoBuffer>() as u32,
            info: (&raw mut info) as u64,
        };
        // SAFETY: `info` has the length that the attributes say, and lives until after the call.
        unsafe { bpf::call(Command::InfoByFd, &mut attr) }?;
        let [first, second, third, ..] = info.place;
        let place = match info.kind {
            BPF_LINK_TYPE_TCX if first == 0 => Place::Nowhere,
            BPF_LINK_TYPE_TCX => Place::Device {
                index: first,
                attach_type: second,
            },
            BPF_LINK_TYPE_CGROUP if (first, second) == (0, 0) => Place::Nowhere,
            BPF_LINK_TYPE_CGROUP => Place::Cgroup {
                id: wide(first, second),
                attach_type: third,
            },
            _ => Place::Elsewhere,
        };
        Ok(LinkInfo {
            id: info.id,
            program: info.program,
            place,
        })
    }
}

impl Hook {
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Whether it matters to us who runs before us. Programs that tell a socket's peer each know
    /// their own sockets.
    pub fn order_matters(self) -> bool {
        !matches!(self, Self::GetPeerName4 | Self::GetPeerName6)
    }
}

fn create(program: BorrowedFd<'_>, target: u32, hook: Hook, flags: u32) -> io::Result<Link> {
    let mut attr = LinkCreateAttr {
        program: bpf::raw(program)?,
        target,
        attach_type: hook.number(),
        flags,
    };
    // SAFETY: the attributes hold no address.
    let fd = unsafe { bpf::open(Command::LinkCreate, &mut attr) }?;
    Ok(Link { fd })
}

/// A number of 64 bits from two words in the machine's order.
fn wide(first: u32, second: u32) -> u64 {
    let (low, high) = if cfg!(target_endian = "little") {
        (first, second)
    } else {
        (second, first)
    };
    u64::from(high) << 32 | u64::from(low)
}
