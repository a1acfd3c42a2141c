//! Certificates that someone else writes to files and renews there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{CertError, CertSource, Credentials, read_leaf};
use crate::identity::SpiffeId;

/// How often the files' modification times are looked at.
const RECHECK: Duration = Duration::from_secs(5);

/// The three PEM files of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub roots: PathBuf,
}

/// Credentials read from files, read again when a file changes.
///
/// A renewal that cannot be read (half written, say) leaves the former credentials in use, with a
/// warning: they are valid until they expire.
#[derive(Debug, Default)]
pub struct FileCerts {
    identities: HashMap<SpiffeId, Watched>,
}

#[derive(Debug)]
struct Watched {
    files: Files,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    credentials: Arc<Credentials>,
    stamps: Stamps,
    checked: Instant,
}

type Stamps = [Option<SystemTime>; 3];

impl FileCerts {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an identity; which one, the certificate says.
    pub fn add(&mut self, files: Files) -> Result<SpiffeId, CertError> {
        let stamps = files.stamps();
        let credentials = Arc::new(files.load()?);
        let identity = credentials.identity.clone();
        let loaded = Mutex::new(Loaded {
            credentials,
            stamps,
            checked: Instant::now(),
        });
        self.identities
            .insert(identity.clone(), Watched { files, loaded });
        Ok(identity)
    }

    /// Adds every `NAME.pem` of a directory that has a `NAME.key` beside it, with `ca.pem` as the
    /// roots of all of them.
    pub fn from_dir(dir: &Path) -> Result<Self, CertError> {
        let read_error = |source| CertError::Read {
            path: dir.into(),
            source,
        };
        let roots = dir.join("ca.pem");
        let mut certs = Self::new();
        for entry in std::fs::read_dir(dir).map_err(read_error)? {
            let certificate = entry.map_err(read_error)?.path();
            let key = certificate.with_extension("key");
            let is_leaf = certificate.extension().is_some_and(|pem| pem == "pem")
                && certificate != roots
                && key.exists();
            if is_leaf {
                certs.add(Files {
                    certificate,
                    key,
                    roots: roots.clone(),
                })?;
            }
        }
        Ok(certs)
    }

    pub fn identities(&self) -> impl Iterator<Item = &SpiffeId> {
        self.identities.keys()
    }
}

impl CertSource for FileCerts {
    fn certificate(&self, identity: &SpiffeId) -> Result<Arc<Credentials>, CertError> {
        let watched = self
            .identities
            .get(identity)
            .ok_or_else(|| CertError::Unknown {
                identity: identity.clone(),
            })?;
        let mut loaded = watched
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if loaded.checked.elapsed() >= RECHECK {
            loaded.refresh(&watched.files);
        }
        Ok(loaded.credentials.clone())
    }
}

impl Loaded {
    fn refresh(&mut self, files: &Files) {
        self.checked = Instant::now();
        let stamps = files.stamps();
        if stamps == self.stamps {
            return;
        }
        let wanted = &self.credentials.identity;
        match files.load() {
            Ok(new) if new.identity == *wanted => {
                self.credentials = Arc::new(new);
                self.stamps = stamps;
            }
            Ok(new) => tracing::warn!(
                %wanted, found = %new.identity, path = ?files.certificate,
                "the renewed certificate is another identity's; the former one stays in use"
            ),
            Err(error) => tracing::warn!(
                %wanted, path = ?files.certificate, error = &error as &dyn std::error::Error,
                "the renewed certificate cannot be used; the former one stays in use"
            ),
        }
    }
}

impl Files {
    /// Reads the files and checks that they belong together.
    pub fn load(&self) -> Result<Credentials, CertError> {
        let chain = read_certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| pem_error(&self.key, source))?;
        let mut roots = RootCertStore::empty();
        for root in read_certificates(&self.roots)? {
            roots.add(root).map_err(|error| CertError::Malformed {
                path: self.roots.clone(),
                reason: error.to_string(),
            })?;
        }
        let first = chain.first().ok_or_else(|| CertError::Empty {
            path: self.certificate.clone(),
        })?;
        let leaf = read_leaf(first).map_err(|error| CertError::Malformed {
            path: self.certificate.clone(),
            reason: error.to_string(),
        })?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| {
            CertError::Malformed {
                path: self.key.clone(),
                reason: error.to_string(),
            }
        })?;
        if signer
            .public_key()
            .is_some_and(|public| public.as_ref() != leaf.public_key)
        {
            return Err(CertError::KeyMismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            });
        }
        Ok(Credentials {
            identity: leaf.identity,
            chain,
            key,
            roots: Arc::new(roots),
            not_after: leaf.not_after,
        })
    }

    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key, &self.roots].map(|path| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        })
    }
}

pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|source| pem_error(path, source))?
        .collect::<Result<_, _>>()
        .map_err(|source| pem_error(path, source))?;
    if certificates.is_empty() {
        return Err(CertError::Empty { path: path.into() });
    }
    Ok(certificates)
}

fn pem_error(path: &Path, source: rustls::pki_types::pem::Error) -> CertError {
    match source {
        rustls::pki_types::pem::Error::Io(source) => CertError::Read {
            path: path.into(),
            source,
        },
        source => CertError::Pem {
            path: path.into(),
            source,
        },
    }
}
