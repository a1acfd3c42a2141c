//! Certificates that are not what they should be: nothing is sent, and it is said what is wrong.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use waysteer::source::xds::XdsOptions;
use waysteer_tests::istiod::Istiod;
use waysteer_tests::istiod::resources::{ADDRESS, of_workload, response, workload};

use super::listener::{Listener, options, tls};
use super::protocol::connect;

const NAME: &str = "istiod.istio-system.svc";

/// A directory of the test's own; it goes with this.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new() -> Result<Self> {
        use std::hash::{BuildHasher as _, RandomState};
        let number = RandomState::new().hash_one(0);
        let name = format!("waysteer-xds-{}-{number:x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate that is its own authority.
pub(super) fn authority(name: &str) -> Result<CertifiedKey<KeyPair>> {
    Ok(rcgen::generate_simple_self_signed(vec![name.to_owned()])?)
}

/// Starts a listener that must be refused, and waits for words about it.
async fn refused(options: XdsOptions, words: &[&str]) -> Result<()> {
    let mut listener = Listener::start(options);
    listener.until("refusal", |l| !l.errors.is_empty()).await?;
    let (_, error) = listener.errors.first().context("an error")?.clone();
    for word in words {
        ensure!(error.contains(word), "{word} is not in: {error}");
    }
    let stats = listener.stats.snapshot();
    ensure!(stats.connections == 0 && stats.disconnections["tls"] > 0);
    ensure!(
        stats
            .missing()
            .is_some_and(|missing| missing.contains(&error))
    );
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_certificate_is_named() -> Result<()> {
    let files = Files::new()?;
    let (ours, other) = (authority(NAME)?, authority(NAME)?);
    let key = ours.signing_key.serialize_pem();
    let server = Istiod::start_tls(&ours.cert.pem(), &key).await?;
    let root = files.write("root.pem", &ours.cert.pem())?;
    let of = |root: PathBuf, name: &str| XdsOptions {
        tls: Some(tls(root, name)),
        ..options(server.address)
    };
    // Of nobody who is trusted.
    let stranger = files.write("stranger.pem", &other.cert.pem())?;
    refused(of(stranger, NAME), &["certificate"]).await?;
    // For another name.
    let words = ["certificate", "somebody.else", NAME];
    refused(of(root, "somebody.else"), &words).await?;
    // No longer.
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate()?;
    let expired = params.self_signed(&key)?;
    let server = Istiod::start_tls(&expired.pem(), &key.serialize_pem()).await?;
    let root = files.write("expired.pem", &expired.pem())?;
    let expired = XdsOptions {
        tls: Some(tls(root, NAME)),
        ..options(server.address)
    };
    refused(expired, &["certificate", "expired"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_server_in_plaintext_is_refused() -> Result<()> {
    let files = Files::new()?;
    let root = files.write("root.pem", &authority(NAME)?.cert.pem())?;
    let server = Istiod::start().await?;
    let options = XdsOptions {
        tls: Some(tls(root, NAME)),
        ..options(server.address)
    };
    refused(options, &["cannot connect"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_read_for_each_connection() -> Result<()> {
    let files = Files::new()?;
    let (ours, other) = (authority(NAME)?, authority(NAME)?);
    let root = files.write("root.pem", &other.cert.pem())?;
    let key = ours.signing_key.serialize_pem();
    let mut server = Istiod::start_tls(&ours.cert.pem(), &key).await?;
    let mut listener = Listener::start(XdsOptions {
        tls: Some(tls(root, NAME)),
        ..options(server.address)
    });
    listener.until("refusal", |l| !l.errors.is_empty()).await?;
    // A file without any.
    files.write("root.pem", "none")?;
    listener
        .until("no authority", |l| {
            l.errors
                .iter()
                .any(|(_, e)| e.contains("root.pem: no certificate of an authority"))
        })
        .await?;
    // Both at once, as while one is rotated.
    let both = other.cert.pem() + &ours.cert.pem();
    files.write("root.pem", &both)?;
    let mut session = connect(&mut server).await?;
    session
        .exchange(response(ADDRESS, "a", vec![of_workload(&workload(1), "1")]))
        .await?;
    listener
        .until("workload", |l| l.mesh().workloads.len() == 1)
        .await?;
    listener.stop().await
}
