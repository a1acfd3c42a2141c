//! TLS 1.3, ALPN `h2`, both sides with SPIFFE certificates.
//!
//! Sessions are never resumed: resumption would skip the verification of the peer's certificate,
//! and with it of its identity and expiry.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};

use crate::certs::Credentials;
use crate::identity::SpiffeId;

pub(crate) use verify::verifier_reason;
pub use verify::{PeerError, peer_identity};

mod verify;

pub(crate) const ALPN_H2: &[u8] = b"h2";

#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    #[error("the certificate of {identity} cannot be used for TLS")]
    Certificate {
        identity: SpiffeId,
        #[source]
        source: rustls::Error,
    },
    #[error("the roots of {identity} cannot verify clients")]
    Roots {
        identity: SpiffeId,
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

/// The client's side: presents `credentials` and accepts a server of exactly one of the
/// `expected` identities. An empty set accepts nobody.
pub fn client_config(
    credentials: &Credentials,
    expected: Arc<BTreeSet<SpiffeId>>,
) -> Result<ClientConfig, TlsConfigError> {
    let provider = provider();
    let verifier = verify::ServerVerifier::new(credentials.roots.clone(), expected, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| unusable(credentials, source))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|source| unusable(credentials, source))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The server's side: presents `credentials` and accepts any client whose certificate chains to
/// the mesh's roots and names one SPIFFE identity, which [`peer_identity`] then gives.
pub fn server_config(credentials: &Credentials) -> Result<ServerConfig, TlsConfigError> {
    let provider = provider();
    let verifier =
        verify::ClientVerifier::new(credentials.roots.clone(), &provider).map_err(|source| {
            TlsConfigError::Roots {
                identity: credentials.identity.clone(),
                source,
            }
        })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| unusable(credentials, source))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|source| unusable(credentials, source))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unusable(credentials: &Credentials, source: rustls::Error) -> TlsConfigError {
    TlsConfigError::Certificate {
        identity: credentials.identity.clone(),
        source,
    }
}
