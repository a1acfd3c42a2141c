//! The programs of the cgroup root: `getpeername4`, `getpeername6`, `sock_ops`, `connect4`,
//! `connect6`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::AttachError;
use super::keep::{self, Kept, Position};
use crate::kernel::hooks;
use crate::kernel::link::{Hook, Link, LinkInfo, Place, Precedence};
use crate::kernel::load::{Programs, program_fd, program_id};

/// From the observer to the actors: a flow that is judged is also seen, and one that is sent
/// elsewhere told of as what was dialled.
pub(super) const HOOKS: [(&str, Hook); 5] = [
    ("getpeername4", Hook::GetPeerName4),
    ("getpeername6", Hook::GetPeerName6),
    ("sock_ops", Hook::SockOps),
    ("connect4", Hook::Connect4),
    ("connect6", Hook::Connect6),
];

/// The programs on a cgroup. Those that are pinned stay when it is dropped.
#[derive(Debug)]
pub struct CgroupLinks {
    links: Vec<Kept>,
}

impl Programs {
    /// Attaches to the cgroup at `path`, and so to all below it. A link that is pinned from before
    /// gets the program of now in one step.
    pub fn attach_cgroup(&mut self, path: &Path) -> Result<CgroupLinks, AttachError> {
        let failed = |source| AttachError::Cgroup {
            path: path.to_owned(),
            source,
        };
        let cgroup = File::open(path).map_err(failed)?;
        let id = cgroup.metadata().map_err(failed)?.ino();
        let mut links = Vec::new();
        for (program, hook) in HOOKS {
            links.push(self.attach_hook(program, hook, &cgroup, id)?);
        }
        Ok(CgroupLinks { links })
    }

    fn attach_hook(
        &self,
        name: &'static str,
        hook: Hook,
        cgroup: &File,
        id: u64,
    ) -> Result<Kept, AttachError> {
        let position = CgroupPosition {
            name,
            hook,
            program: program_fd(&self.ebpf, name)?,
            program_id: program_id(&self.ebpf, name)?,
            cgroup: cgroup.as_fd(),
            cgroup_id: id,
        };
        let pin = self.pins.as_ref().map(|pins| pins.cgroup_link(name));
        // Those of older generations stay beside ours: their pods need them.
        keep::keep(pin, &[], &position)
    }
}

struct CgroupPosition<'a> {
    name: &'static str,
    hook: Hook,
    program: BorrowedFd<'a>,
    program_id: u32,
    cgroup: BorrowedFd<'a>,
    cgroup_id: u64,
}

impl Position for CgroupPosition<'_> {
    fn program(&self) -> BorrowedFd<'_> {
        self.program
    }

    fn program_id(&self) -> u32 {
        self.program_id
    }

    fn is_at(&self, place: Place) -> bool {
        place
            == Place::Cgroup {
                id: self.cgroup_id,
                attach_type: self.hook.number(),
            }
    }

    /// Not taken for granted: with programs of both kinds of order at a hook, a kernel may exchange
    /// the wrong one.
    fn is_settled(&self, before: LinkInfo) -> io::Result<bool> {
        let running = hooks::run_by(self.cgroup, self.hook)?;
        Ok(!running.contains(&before.program) && running.contains(&self.program_id))
    }

    fn attach(&self) -> io::Result<Link> {
        let (link, precedence) = Link::attach_cgroup(self.program, self.cgroup, self.hook)?;
        match precedence {
            Precedence::First => {}
            Precedence::Early | Precedence::Late if !self.hook.order_matters() => {}
            Precedence::Early | Precedence::Late => tracing::warn!(
                program = self.name,
                ?precedence,
                "this kernel cannot put the program before all others: one that rewrites \
                 addresses may hide services from it"
            ),
        }
        Ok(link)
    }

    fn refused(&self, source: io::Error) -> AttachError {
        AttachError::refused(self.name, None, source)
    }
}

impl Programs {
    /// The hooks of the cgroup root, with our program's name and id.
    pub fn at_cgroup(&self) -> Result<Vec<(&'static str, Hook, u32)>, AttachError> {
        let hooks = HOOKS.into_iter();
        hooks
            .map(|(name, hook)| Ok((name, hook, program_id(&self.ebpf, name)?)))
            .collect()
    }
}

impl CgroupLinks {
    /// Takes the programs off, and unpins them. Goes on after an error, and returns the first.
    pub fn detach(self) -> Result<(), AttachError> {
        let mut result = Ok(());
        for link in self.links.into_iter().rev() {
            result = result.and(link.detach());
        }
        result
    }
}
