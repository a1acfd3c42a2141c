//! What istiod is to ztunnel's certificates: gRPC over TLS, one method, `CreateCertificate`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use prost::Message as _;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::netns::NetNs;

/// Where a ztunnel in the same namespace finds it.
pub(super) const ADDRESS: &str = "https://localhost:15012";
const PORT: u16 = 15012;

/// Serves until dropped.
#[derive(Debug)]
pub(super) struct Authority {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Signer {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CertificateRequest {
    #[prost(string, tag = "1")]
    csr: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CertificateResponse {
    /// The leaf first, the root last.
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

impl Authority {
    /// The authority of a directory with `ca.pem` and `ca.key`.
    pub(super) fn start(netns: &NetNs, directory: &Path) -> Result<Self> {
        let signer = Signer::load(directory)?;
        let acceptor = signer.acceptor()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let listener = netns.run(|| std::net::TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        let thread = std::thread::Builder::new()
            .name("authority".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let serving = serve(listener, acceptor, Arc::new(signer));
                    tokio::select! {
                        result = serving => eprintln!("the authority ended: {result:?}"),
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Signer {
    fn load(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let root = read("ca.pem")?;
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        let issuer = Issuer::from_ca_cert_pem(&root, key)?;
        Ok(Self { issuer, root })
    }

    /// TLS as `localhost`.
    fn acceptor(&self) -> Result<TlsAcceptor> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![CertificateDer::from_pem_slice(
            certificate.pem().as_bytes(),
        )?];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Certifies whatever it is asked for.
    fn sign(&self, request: &str) -> Result<Vec<String>> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let now = std::time::SystemTime::now();
        let hour = std::time::Duration::from_secs(3600);
        request.params.not_before = (now - hour / 12).into();
        request.params.not_after = (now + hour * 24).into();
        let leaf = request.signed_by(&self.issuer)?;
        Ok(vec![leaf.pem(), self.root.clone()])
    }
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    signer: Arc<Signer>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = connection(stream, acceptor.clone(), signer.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection to the authority: {error:#}");
            }
        });
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, signer: Arc<Signer>) -> Result<()> {
    let mut connection = h2::server::handshake(tls.accept(stream).await?).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let signer = signer.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(request, respond, &signer).await {
                eprintln!("a request to the authority: {error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    signer: &Signer,
) -> Result<()> {
    let path = request.uri().path().to_owned();
    let method = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
    ensure!(path == method, "nobody serves {path}");
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    // A byte that says it is not compressed, four of length.
    let message = bytes.get(5..).context("a gRPC message")?;
    let request = CertificateRequest::decode(message)?;
    let cert_chain = signer.sign(&request.csr)?;
    let message = CertificateResponse { cert_chain }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len())?.to_be_bytes());
    framed.extend(message);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(())?;
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(framed.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(stream.send_trailers(trailers)?)
}
