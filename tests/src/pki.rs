//! The mesh's certificates, as files, for programs that read files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::Files;
use waysteer_hbone::identity::SpiffeId;

use crate::process::Scratch;

/// A certificate authority and what it has issued, below a scratch directory.
#[derive(Debug)]
pub struct Pki {
    ca: LocalCa,
    directory: PathBuf,
}

impl Pki {
    pub fn new(scratch: &Scratch) -> Result<Self> {
        Self::at(&scratch.path().join("pki"))
    }

    /// The authority of a directory; it is made if it does not exist.
    pub fn at(directory: &Path) -> Result<Self> {
        let ca = LocalCa::load_or_create(directory)
            .with_context(|| format!("the authority in {}", directory.display()))?;
        Ok(Self {
            ca,
            directory: directory.to_owned(),
        })
    }

    /// Where the authority is: what `ca_dir` of the agent and `--ca` of `hbone-peer` name.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Issues a certificate; the files are named after the service account.
    pub fn issue(&self, identity: &SpiffeId) -> Result<Files> {
        let directory = self.directory.join("issued");
        let name = format!("{}-{}", identity.namespace(), identity.service_account());
        self.ca
            .write_leaf(identity, &directory, &name)
            .with_context(|| format!("a certificate for {identity}"))
    }
}

/// `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`.
///
/// # Panics
/// Where these are no names.
pub fn identity(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", namespace, account)
        .unwrap_or_else(|error| panic!("{namespace}/{account}: {error}"))
}
