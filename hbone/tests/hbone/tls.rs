//! Who may talk to whom.

use std::sync::Arc;

use http::HeaderMap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::{CertSource, FileCerts, LeafError};
use waysteer_hbone::client::{ConnectError, DialError, Pool, PoolConfig};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::server::ServeError;
use waysteer_hbone::tls::PeerError;

use crate::support::*;

#[tokio::test]
async fn both_sides_know_each_other() {
    let (_ca, server, pool) = world().await;
    let mut headers = HeaderMap::new();
    headers.insert("baggage", "k8s.pod.name=x".parse().unwrap());
    let stream = pool
        .connect(&server.key(), "echo:80", headers)
        .await
        .unwrap();
    assert_eq!(exchange(stream, b"hello").await.unwrap(), b"hello");
    let request = server.apps.requests.lock().unwrap().remove(0);
    assert_eq!(request.peer, client_id());
    assert_eq!(request.authority, "echo:80");
    assert_eq!(request.headers["baggage"], "k8s.pod.name=x");
    assert_eq!(request.local_addr, server.address);
    assert!(request.peer_addr.ip().is_loopback());
}

#[tokio::test]
async fn certificates_from_files_do_as_well() {
    let dir = TempDir::new("files");
    let ca = LocalCa::load_or_create(&dir.0).unwrap();
    ca.write_leaf(&client_id(), &dir.0, "client").unwrap();
    ca.write_leaf(&server_id(), &dir.0, "server").unwrap();
    let certs = Arc::new(FileCerts::from_dir(&dir.0).unwrap());
    assert_eq!(certs.identities().count(), 2);
    let server = TestServer::start(certs.clone()).await;
    let pool = Pool::new(PoolConfig::default(), certs.clone(), Direct);
    let stream = connect(&pool, &server, "echo:80").await.unwrap();
    assert_eq!(exchange(stream, b"hello").await.unwrap(), b"hello");
    let unknown = SpiffeId::new("cluster.local", "demo", "nobody").unwrap();
    certs.certificate(&unknown).unwrap_err();
}

#[tokio::test]
async fn a_server_of_another_identity_is_refused() {
    let (_ca, server, pool) = world().await;
    let mut key = server.key();
    let wanted = SpiffeId::new("cluster.local", "demo", "other").unwrap();
    key.expected = Arc::new([wanted].into());
    let error = soon(pool.connect(&key, "echo:80", HeaderMap::new()))
        .await
        .unwrap_err();
    let ConnectError::Dial(dial) = &error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(&**dial, DialError::Peer { source: PeerError::Unexpected { presented, .. }, .. }
            if *presented == server_id()),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("sa/server, expected one of"),
        "{error}"
    );
    assert!(server.apps.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn expecting_nobody_accepts_nobody() {
    let (_ca, server, pool) = world().await;
    let mut key = server.key();
    key.expected = Arc::default();
    soon(pool.connect(&key, "echo:80", HeaderMap::new()))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (_ca, server, _) = world().await;
    let stranger = pool(&Arc::new(LocalCa::new().unwrap()));
    let error = connect(&stranger, &server, "echo:80").await.unwrap_err();
    let ConnectError::Dial(dial) = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(&**dial, DialError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let (_ca, mut server, _) = world().await;
    let stranger = LocalCa::new().unwrap();
    let credentials = stranger.certificate(&client_id()).unwrap();
    let own = Some((credentials.chain.clone(), credentials.key.clone_key()));
    raw_client(&server, &rustls::version::TLS13, own, true)
        .await
        .unwrap_err();
    assert!(matches!(
        served(&mut server).await,
        Err(ServeError::Tls { .. })
    ));
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let (_ca, mut server, _) = world().await;
    raw_client(&server, &rustls::version::TLS13, None, true)
        .await
        .unwrap_err();
    assert!(matches!(
        served(&mut server).await,
        Err(ServeError::Tls { .. })
    ));
}

#[tokio::test]
async fn a_client_with_two_identities_or_none_is_refused() {
    for identities in [0, 2] {
        let dir = TempDir::new("identities");
        let ca = Arc::new(LocalCa::load_or_create(&dir.0).unwrap());
        let mut server = TestServer::start(ca).await;
        let own = Some(odd_certificate(&dir, identities));
        raw_client(&server, &rustls::version::TLS13, own, true)
            .await
            .unwrap_err();
        let Err(ServeError::Peer { source, .. }) = served(&mut server).await else {
            panic!("{identities} identities were accepted");
        };
        assert_eq!(
            source,
            PeerError::Leaf(LeafError::UriCount { count: identities })
        );
    }
}

#[tokio::test]
async fn tls_1_2_and_other_protocols_than_h2_are_refused() {
    let (ca, mut server, _) = world().await;
    let credentials = ca.certificate(&client_id()).unwrap();
    let own = || Some((credentials.chain.clone(), credentials.key.clone_key()));
    raw_client(&server, &rustls::version::TLS12, own(), true)
        .await
        .unwrap_err();
    assert!(matches!(
        served(&mut server).await,
        Err(ServeError::Tls { .. })
    ));
    raw_client(&server, &rustls::version::TLS13, own(), false)
        .await
        .unwrap_err();
    assert!(matches!(
        served(&mut server).await,
        Err(ServeError::NoHttp2 { .. })
    ));
}

#[tokio::test]
async fn plaintext_on_the_hbone_port_is_refused() {
    use tokio::io::AsyncWriteExt;
    let (_ca, mut server, _) = world().await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(
        served(&mut server).await,
        Err(ServeError::Tls { .. })
    ));
}

async fn served(server: &mut TestServer) -> Result<(), ServeError> {
    soon(server.served.recv()).await.unwrap()
}

type Own = (
    Vec<CertificateDer<'static>>,
    rustls::pki_types::PrivateKeyDer<'static>,
);

/// Connects as a client that is not ours, and reads until the server has said no.
async fn raw_client(
    server: &TestServer,
    version: &'static SupportedProtocolVersion,
    own: Option<Own>,
    h2: bool,
) -> std::io::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    if h2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let tcp = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("server").unwrap();
    let mut tls = soon(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await?;
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    soon(tls.read_to_end(&mut Vec::new())).await.map(drop)
}

/// A certificate of the directory's authority with so many identities.
fn odd_certificate(dir: &TempDir, identities: usize) -> Own {
    let read = |name: &str| std::fs::read_to_string(dir.0.join(name)).unwrap();
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = (0..identities)
        .map(|n| format!("spiffe://cluster.local/ns/demo/sa/client{n}"))
        .map(|uri| rcgen::SanType::URI(uri.try_into().unwrap()))
        .collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (
        vec![certificate.der().clone()],
        key.serialize_der().try_into().unwrap(),
    )
}

/// Accepts every server, as only a test may.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
