//! Coming first again, after somebody else has put a program before ours.
//!
//! A program can be at a hook once only, so a copy of it takes the first place, then ours leaves
//! its old one and comes before the copy. At every moment one of the two is there, and the pin
//! names it, so that a crash changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::keep::Kept;
use super::{AttachError, PodLinks, cgroup};
use crate::kernel::link::Link;
use crate::kernel::load::{Programs, program_fd};
use crate::kernel::netns::PodNetns;

impl Programs {
    /// Puts programs of a pod, told by device and name, before all others of their hooks, where
    /// they are pinned. Blocks, see [`PodNetns::run`].
    pub fn put_first(
        &mut self,
        netns: &PodNetns,
        links: &mut PodLinks,
        which: &[(u32, &'static str)],
    ) -> Result<(), AttachError> {
        if self.pins.is_none() {
            // Another program would have other maps.
            return Ok(());
        }
        let mut spares = BTreeMap::new();
        for (_, name) in which {
            spares.insert(*name, self.spare(name)?);
        }
        let programs = &*self;
        netns.run(move || -> Result<(), AttachError> {
            for link in &mut links.links {
                let spot = &link.spot;
                let name = spot.program;
                let (true, Some(spare)) = (which.contains(&(spot.index, name)), spares.get(name))
                else {
                    continue;
                };
                let refused = |source| AttachError::refused(name, Some(&spot.device), source);
                let first =
                    |program| Link::attach_tcx(program, spot.index, spot.hook).map_err(refused);
                link.kept.change(first(spare.fd(name)?)?)?;
                let ours = program_fd(&programs.ebpf, name)?;
                link.kept.change(first(ours)?)?;
            }
            Ok(())
        })?
    }

    /// The same at the cgroup `path`, where the links are pinned, for these programs.
    pub fn put_cgroup_first(
        &mut self,
        path: &Path,
        which: &[&'static str],
    ) -> Result<(), AttachError> {
        let Some(pins) = &self.pins else {
            return Ok(());
        };
        let cgroup = File::open(path).map_err(|source| AttachError::Cgroup {
            path: path.to_owned(),
            source,
        })?;
        for (name, hook) in cgroup::HOOKS {
            if !which.contains(&name) {
                continue;
            }
            let spare = self.spare(name)?;
            let program = program_fd(&self.ebpf, name)?;
            let refused = |source| AttachError::refused(name, None, source);
            let first = |program| {
                let attached = Link::attach_cgroup(program, cgroup.as_fd(), hook);
                attached.map(|(link, _)| link).map_err(refused)
            };
            let mut kept = Kept::pinned(pins.cgroup_link(name));
            kept.change(first(spare.fd(name)?)?)?;
            kept.change(first(program)?)?;
        }
        Ok(())
    }
}
