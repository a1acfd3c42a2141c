//! What can go wrong with the socket, with a pod, and with one connection.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::message::{PACKET_MAX, VERSION};
use super::stats::Kind;

#[derive(Debug, thiserror::Error)]
pub enum ZdsError {
    #[error(
        "another agent serves ztunnel on {}: stop it first, or give this one another tunnel.socket",
        path.display()
    )]
    Owned { path: PathBuf },
    #[error("{} is there and is no socket: it is not removed", path.display())]
    NoSocket { path: PathBuf },
    #[error("cannot {what} for ztunnel at {}", path.display())]
    Socket {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "ztunnel cannot be told of this pod: its uid, name, namespace and service account make a \
         message of {length} bytes, of {PACKET_MAX} that it reads"
    )]
    TooLong { length: usize },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("ztunnel closed it")]
    Gone,
    #[error("nothing was said for {0:?}, where a hello was due")]
    NoHello(Duration),
    #[error("ztunnel speaks version {0} of the protocol, this agent version {VERSION}")]
    Version(i32),
    #[error("a packet came that is no {expected}")]
    Garbage { expected: &'static str },
    #[error("an answer came to which there was no question")]
    Unasked,
    #[error("a packet of {length} bytes came, of {PACKET_MAX} that may be")]
    Oversize { length: usize },
    #[error("no answer to {} in {after:?}", kind.label())]
    NoAnswer { kind: Kind, after: Duration },
    #[error("{} was refused: {error}", kind.label())]
    Refused { kind: Kind, error: String },
    #[error("too many ztunnels are connected")]
    TooMany,
    #[error("the agent stops")]
    Stopping,
    #[error("the socket failed")]
    Io(#[source] io::Error),
}

impl Closed {
    /// In the order of [`Self::index`].
    pub(super) const LABELS: [&'static str; 11] = [
        "gone",
        "no_hello",
        "version",
        "garbage",
        "unasked",
        "oversize",
        "no_answer",
        "refused",
        "too_many",
        "stopping",
        "io",
    ];

    pub(super) fn index(&self) -> usize {
        match self {
            Self::Gone => 0,
            Self::NoHello(_) => 1,
            Self::Version(_) => 2,
            Self::Garbage { .. } => 3,
            Self::Unasked => 4,
            Self::Oversize { .. } => 5,
            Self::NoAnswer { .. } => 6,
            Self::Refused { .. } => 7,
            Self::TooMany => 8,
            Self::Stopping => 9,
            Self::Io(_) => 10,
        }
    }
}
