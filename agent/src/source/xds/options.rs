//! Where istiod is, and how to talk to it.

use std::path::PathBuf;
use std::time::Duration;

use super::identity::NodeIdentity;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsOptions {
    /// `host:port`.
    pub address: String,
    /// `None` is plaintext, for tests.
    pub tls: Option<XdsTls>,
    /// A file with the bearer token, read again for each connection.
    pub token: Option<PathBuf>,
    pub node: NodeIdentity,
    pub limits: XdsLimits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsTls {
    /// A file with the authorities to trust, read again for each connection.
    pub root_ca: PathBuf,
    /// The name in istiod's certificate, where it is not that of `address`.
    pub server_name: Option<String>,
}

/// What a connection may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsLimits {
    /// Until it is made, with TLS.
    pub connect: Duration,
    /// A server that went away without a word is noticed after this and `answer` together.
    pub keep_alive: Duration,
    pub answer: Duration,
    /// Bytes of one message.
    pub message: usize,
}

impl Default for XdsLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            answer: Duration::from_secs(10),
            // The whole mesh comes in one.
            message: 2 << 30,
        }
    }
}
