//! Where certificates come from.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::identity::{IdentityError, SpiffeId};

pub use files::{FileCerts, Files};

mod files;

/// Gives the credentials of an identity.
///
/// Asked for every connection, so an implementation caches. As long as nothing changed it must
/// return the same `Arc`: a different one tells the pool to stop using connections that were made
/// with the former, and so is how renewal takes effect.
pub trait CertSource: fmt::Debug + Send + Sync + 'static {
    fn certificate(&self, identity: &SpiffeId) -> Result<Arc<Credentials>, CertError>;
}

/// What one identity presents, and what it trusts.
pub struct Credentials {
    pub identity: SpiffeId,
    /// The leaf first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The roots of the mesh, against which peers are verified.
    pub roots: Arc<RootCertStore>,
    pub not_after: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("reading {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing {path:?}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} is not valid PEM")]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{path:?} contains no certificate")]
    Empty { path: PathBuf },
    #[error("{path:?}: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("{path:?} certifies {found}, not {wanted}")]
    OtherIdentity {
        path: PathBuf,
        found: SpiffeId,
        wanted: SpiffeId,
    },
    #[error("{certificate:?} and {key:?} do not belong together")]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("no certificate is configured for {identity}")]
    Unknown { identity: SpiffeId },
    #[error("issuing a certificate for {identity}")]
    Issue {
        identity: SpiffeId,
        #[source]
        source: rcgen::Error,
    },
    #[error("making a certificate authority")]
    Authority(#[source] rcgen::Error),
}

/// Why a certificate does not prove an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("the certificate cannot be parsed: {0}")]
    Parse(String),
    #[error("the certificate names {count} URIs, exactly one SPIFFE identity is required")]
    UriCount { count: usize },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The facts that are read from a leaf certificate.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) identity: SpiffeId,
    pub(crate) not_after: SystemTime,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
}

/// Reads the one SPIFFE identity of a certificate. It proves nothing by itself: the chain and the
/// possession of the key are verified by rustls.
pub(crate) fn read_leaf(certificate: &[u8]) -> Result<Leaf, LeafError> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| LeafError::Parse(error.to_string()))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| LeafError::Parse(error.to_string()))?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(LeafError::UriCount { count: uris.len() });
    };
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Leaf {
        identity: uri.parse()?,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        public_key: parsed.public_key().raw.to_vec(),
    })
}

impl fmt::Debug for Credentials {
    /// Leaves the key out: credentials end up in logs through the structs that hold them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
