//! What can go wrong with links.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;
use thiserror::Error;

use crate::kernel::load::LoadError;
use crate::kernel::netns::NetnsError;
use crate::kernel::pins::PinError;
use crate::kernel::privileges::hint;

#[derive(Debug, Error)]
pub enum AttachError {
    #[error("cannot open cgroup {}", path.display())]
    Cgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Program(#[from] LoadError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error("cannot take off what is pinned at {}", path.display())]
    Pinned {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open the map of verdicts on sockets")]
    Verdicts(#[source] io::Error),
    #[error("cannot take a program off")]
    Detach(#[source] io::Error),
    #[error("cannot attach {program} to {target}{hint}")]
    Refused {
        program: &'static str,
        target: String,
        hint: String,
        #[source]
        source: io::Error,
    },
}

/// A program that is not where it was attached.
#[derive(Debug)]
pub struct LinkDrift {
    pub device: String,
    pub program: &'static str,
    pub problem: LinkProblem,
}

#[derive(Debug)]
pub enum LinkProblem {
    Detached,
    /// Somebody has put a program before ours.
    NotFirst,
    /// The device cannot be asked; it may be gone.
    Unknown(ProgramError),
}

impl AttachError {
    pub(super) fn refused(program: &'static str, device: Option<&str>, source: io::Error) -> Self {
        let target = device.unwrap_or("the cgroup").to_owned();
        Self::Refused {
            program,
            target,
            hint: hint(&source),
            source,
        }
    }
}

impl fmt::Display for LinkDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            program,
            problem,
        } = self;
        match problem {
            LinkProblem::Detached => write!(f, "{program} is not attached to {device}"),
            LinkProblem::NotFirst => write!(f, "{program} is not the first on {device}"),
            LinkProblem::Unknown(error) => write!(f, "{program} on {device}: {error}"),
        }
    }
}
