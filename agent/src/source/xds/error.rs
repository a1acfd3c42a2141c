//! Why a connection to istiod ended, or never began.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};

#[derive(Debug, Error)]
pub(super) enum SessionError {
    #[error("{0:?} is no address")]
    Address(String, #[source] tonic::transport::Error),
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: no certificate of an authority in it", path.display())]
    RootCa { path: PathBuf },
    #[error("the token in {} is no header value", path.display())]
    Token { path: PathBuf },
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("no connection within {within:?}: the server, or its TLS, does not answer")]
    Silent { within: Duration },
    #[error("the server refused or broke off: {}: {}", .0.code(), .0.message())]
    Status(#[source] Box<Status>),
    #[error("the server ended the stream")]
    Ended,
}

impl SessionError {
    /// Every word that [`Self::reason`] has.
    pub(super) const REASONS: [&'static str; 8] = [
        "address",
        "file",
        "connect",
        "tls",
        "denied",
        "status",
        "transport",
        "ended",
    ];

    /// One word, for a metric.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Address(..) => "address",
            Self::Unreadable { .. } | Self::RootCa { .. } | Self::Token { .. } => "file",
            Self::Connect(error) if is_tls(error) => "tls",
            Self::Connect(_) | Self::Silent { .. } => "connect",
            Self::Status(status) => match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => "denied",
                // What the server did not say is what happened to the connection.
                _ if status.source().is_some() => "transport",
                _ => "status",
            },
            Self::Ended => "ended",
        }
    }

    /// A server may end a stream at any time, and istiod does so every half an hour.
    pub(super) fn is_usual(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

/// What rustls finds wrong comes as invalid data.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        cause = error.source();
    }
    false
}
