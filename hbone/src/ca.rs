//! A certificate authority for one machine, demos and tests.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certs::{CertError, CertSource, Credentials, Files};
use crate::identity::SpiffeId;

const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Peers whose clock is a little behind must not refuse a fresh certificate.
const BACK_DATE: Duration = Duration::from_secs(300);
/// A cached leaf is replaced when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::from_secs(8 * 3600);

/// An ECDSA P-256 authority that issues leaf certificates for SPIFFE identities.
///
/// Not for production: it certifies whatever it is asked for.
pub struct LocalCa {
    /// The authority's certificate, PEM.
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
    leaf_lifetime: Duration,
    issued: Mutex<HashMap<SpiffeId, Arc<Credentials>>>,
}

impl LocalCa {
    /// A new authority that exists in memory only.
    pub fn new() -> Result<Self, CertError> {
        let key = KeyPair::generate().map_err(CertError::Authority)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "waysteer local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        params.not_before = (now - BACK_DATE).into();
        params.not_after = (now + CA_LIFETIME).into();
        let pem = params
            .self_signed(&key)
            .map_err(CertError::Authority)?
            .pem();
        Self::from_pem(pem, key, Path::new("(memory)"))
    }

    /// The authority kept in `dir` as `ca.pem` and `ca.key`; it is made where there is none.
    ///
    /// Several processes may do this at once on the same directory and get the same authority.
    pub fn load_or_create(dir: &Path) -> Result<Self, CertError> {
        fs::create_dir_all(dir).map_err(|source| write_error(dir, source))?;
        let lock_path = dir.join(".lock");
        let lock = File::create(&lock_path).map_err(|source| write_error(&lock_path, source))?;
        lock.lock()
            .map_err(|source| write_error(&lock_path, source))?;
        if dir.join("ca.key").exists() {
            return Self::load(dir);
        }
        let ca = Self::new()?;
        // The key comes last: its existence says that the pair is complete.
        write(&dir.join("ca.pem"), &ca.pem, 0o644)?;
        write(&dir.join("ca.key"), &ca.key_pem, 0o600)?;
        Ok(ca)
    }

    /// The authority kept in `dir` as `ca.pem` and `ca.key`.
    pub fn load(dir: &Path) -> Result<Self, CertError> {
        let pem_path = dir.join("ca.pem");
        let key_path = dir.join("ca.key");
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| CertError::Read {
                path: path.into(),
                source,
            })
        };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| CertError::Malformed {
            path: key_path,
            reason: error.to_string(),
        })?;
        Self::from_pem(read(&pem_path)?, key, &pem_path)
    }

    /// Issued certificates live this long instead of 24 hours.
    pub fn with_leaf_lifetime(mut self, lifetime: Duration) -> Self {
        self.leaf_lifetime = lifetime;
        self
    }

    /// The authority's own certificate, PEM.
    pub fn root_pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for `identity`, PEM: the chain and its PKCS#8 key.
    pub fn issue(&self, identity: &SpiffeId) -> Result<(String, String), CertError> {
        let failed = |source| CertError::Issue {
            identity: identity.clone(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = identity.as_str().try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        params.not_before = (now - BACK_DATE).into();
        params.not_after = (now + self.leaf_lifetime).into();
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Issues a certificate and writes `NAME.pem`, `NAME.key` (0600) and `ca.pem` into `dir`, for
    /// programs that read files, Envoy for one.
    pub fn write_leaf(
        &self,
        identity: &SpiffeId,
        dir: &Path,
        name: &str,
    ) -> Result<Files, CertError> {
        let (chain, key) = self.issue(identity)?;
        fs::create_dir_all(dir).map_err(|source| write_error(dir, source))?;
        let files = Files {
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
            roots: dir.join("ca.pem"),
        };
        write(&files.key, &key, 0o600)?;
        write(&files.certificate, &chain, 0o644)?;
        write(&files.roots, &self.pem, 0o644)?;
        Ok(files)
    }

    fn from_pem(pem: String, key: KeyPair, path: &Path) -> Result<Self, CertError> {
        let malformed = |reason: String| CertError::Malformed {
            path: path.into(),
            reason,
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| malformed(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots
            .add(der.clone())
            .map_err(|error| malformed(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| malformed(error.to_string()))?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(malformed(
                "ca.key is not the key of this certificate".into(),
            ));
        }
        let key_pem = key.serialize_pem();
        let issuer =
            Issuer::from_ca_cert_der(&der, key).map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            pem,
            key_pem,
            issuer,
            roots: Arc::new(roots),
            leaf_lifetime: LEAF_LIFETIME,
            issued: Mutex::default(),
        })
    }

    fn issue_credentials(&self, identity: &SpiffeId) -> Result<Credentials, CertError> {
        let (chain, key) = self.issue(identity)?;
        let own_pem = |source| CertError::Pem {
            path: PathBuf::from("(issued)"),
            source,
        };
        Ok(Credentials {
            identity: identity.clone(),
            chain: vec![CertificateDer::from_pem_slice(chain.as_bytes()).map_err(own_pem)?],
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(own_pem)?,
            roots: self.roots.clone(),
            not_after: SystemTime::now() + self.leaf_lifetime,
        })
    }
}

impl CertSource for LocalCa {
    fn certificate(&self, identity: &SpiffeId) -> Result<Arc<Credentials>, CertError> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let margin = RENEW_BEFORE.min(self.leaf_lifetime / 3);
        let renew_when = SystemTime::now() + margin;
        if let Some(cached) = issued.get(identity)
            && cached.not_after > renew_when
        {
            return Ok(cached.clone());
        }
        let fresh = Arc::new(self.issue_credentials(identity)?);
        issued.insert(identity.clone(), fresh.clone());
        Ok(fresh)
    }
}

impl std::fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").finish_non_exhaustive()
    }
}

/// Replaces a file as a whole, so that a reader never sees half of it, nor a key with loose
/// permissions.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), CertError> {
    let part = path.with_added_extension("part");
    let replace = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&part)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    replace().map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: std::io::Error) -> CertError {
    CertError::Write {
        path: path.into(),
        source,
    }
}
