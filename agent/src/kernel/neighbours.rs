//! Programs of others at the cgroup hooks that we use, and whose they are.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::hooks::{self, Foreign};
use super::link::Hook;

/// How programs of known owners start.
const OWNERS: [(&str, &str); 5] = [
    ("cil_", "Cilium"),
    ("cali_", "Calico"),
    ("calico_", "Calico"),
    ("sd_", "systemd"),
    ("kmesh", "Kmesh"),
];

/// A program that is not ours.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) hook: Hook,
    pub(super) program: Foreign,
}

/// Those at the root of the hierarchy, in their order.
///
/// # Errors
/// When the root cannot be looked at.
pub(super) fn at_root(root: &Path) -> io::Result<Vec<Neighbour>> {
    let cgroup = File::open(root)?;
    let mut found = Vec::new();
    for hook in [Hook::Connect4, Hook::Connect6, Hook::SockOps] {
        for id in hooks::attached_to(cgroup.as_fd(), hook)? {
            if !hooks::is_ours(id) {
                let program = hooks::name(id);
                found.push(Neighbour { hook, program });
            }
        }
    }
    Ok(found)
}

impl Neighbour {
    /// As far as its name tells.
    fn owner(&self) -> Option<&'static str> {
        let name = &self.program.name;
        let owner = OWNERS.iter().find(|(start, _)| name.starts_with(start));
        owner.map(|(_, owner)| *owner)
    }

    /// What is to be done so that both can work.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let is_connect = matches!(self.hook, Hook::Connect4 | Hook::Connect6);
        match self.owner() {
            Some("Cilium") if is_connect => Some(
                "set Cilium's socketLB.hostNamespaceOnly to true: else it takes the place of \
                 service addresses in pods",
            ),
            Some("Kmesh") => Some("one redirection a node: uninstall one of both"),
            _ => None,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { id, .. } = self.program;
        match self.owner() {
            Some(owner) => write!(f, "program {id}, of {owner}")?,
            None => write!(f, "program {id}, of somebody else")?,
        }
        f.write_str("; ours goes first where the kernel lets it (Linux 6.15), see waysteer status")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_known_by_name() {
        let neighbour = |hook, name: &str| Neighbour {
            hook,
            program: Foreign {
                id: 7,
                name: name.to_owned(),
            },
        };
        let balancer = neighbour(Hook::Connect4, "cil_sock4_conne");
        assert!(balancer.to_string().starts_with("program 7, of Cilium"));
        assert!(
            balancer
                .advice()
                .is_some_and(|text| text.contains("socketLB"))
        );
        let other = neighbour(Hook::SockOps, "metrics");
        assert!(other.to_string().contains("somebody else"));
        assert_eq!(other.advice(), None);
    }
}
