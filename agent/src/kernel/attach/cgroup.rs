//! The programs of the cgroup root: `connect4`, `connect6`, `sock_ops`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::AttachError;
use super::keep::{self, Kept};
use crate::kernel::hooks;
use crate::kernel::link::{Hook, Link, LinkInfo, Place, Precedence};
use crate::kernel::load::{Programs, program_fd, program_id};

/// From the observer to the actors: a flow that is judged is also seen.
pub(super) const HOOKS: [(&str, Hook); 3] = [
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
        let program = program_fd(&self.ebpf, name)?;
        let refused = |source| AttachError::refused(name, None, source);
        let right = Place::Cgroup {
            id,
            attach_type: hook.number(),
        };
        let pin = self.pins.as_ref().map(|pins| pins.cgroup_link(name));
        let program_id = program_id(&self.ebpf, name)?;
        let current = keep::current(pin.as_deref(), program_id, |place| place == right);
        if let Some(kept) = current.map_err(refused)? {
            return Ok(kept);
        }
        // Not taken for granted: with programs of both kinds of order at a hook, a kernel may
        // exchange the wrong one.
        let is_settled = |before: LinkInfo| {
            let running = hooks::run_by(cgroup.as_fd(), hook)?;
            let is_gone = before.program == program_id || !running.contains(&before.program);
            Ok(is_gone && running.contains(&program_id))
        };
        keep::keep(
            pin,
            program,
            |place| place == right,
            is_settled,
            || attach(name, program, cgroup.as_fd(), hook),
            refused,
        )
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

fn attach(
    name: &str,
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: Hook,
) -> io::Result<Link> {
    let (link, precedence) = Link::attach_cgroup(program, cgroup, hook)?;
    match precedence {
        Precedence::First => {}
        Precedence::Early | Precedence::Late => tracing::warn!(
            program = name,
            ?precedence,
            "this kernel cannot put the program before all others: one that rewrites addresses \
             may hide services from it"
        ),
    }
    Ok(link)
}
