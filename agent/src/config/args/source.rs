//! Flags and environment variables of the source.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::file::SourceKind;

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct SourceArgs {
    /// Where the mesh comes from [default: file]
    #[arg(long, env = "WAYSTEER_SOURCE_KIND")]
    pub source_kind: Option<SourceKind>,
    /// The mesh file: workloads, services, policies; with kind file
    #[arg(long, env = "WAYSTEER_SOURCE_MESH")]
    pub source_mesh: Option<PathBuf>,
    /// The file with this node's pods
    #[arg(long, env = "WAYSTEER_SOURCE_PODS")]
    pub source_pods: Option<PathBuf>,
    /// Where istiod listens, HOST:PORT [default: istiod.istio-system.svc:15012]; this and what
    /// follows with kind xds
    #[arg(long, env = "WAYSTEER_SOURCE_ADDRESS")]
    pub source_address: Option<String>,
    /// The file with the authorities that istiod's certificate may be of
    /// [default: /var/run/secrets/istio/root-cert.pem]
    #[arg(long, env = "WAYSTEER_SOURCE_ROOT_CA")]
    pub source_root_ca: Option<PathBuf>,
    /// The name in istiod's certificate [default: the host of its address]
    #[arg(long, env = "WAYSTEER_SOURCE_SERVER_NAME")]
    pub source_server_name: Option<String>,
    /// The file with the token that istiod asks for, read again for each connection
    /// [default: /var/run/secrets/tokens/istio-token; none in plaintext]
    #[arg(long, env = "WAYSTEER_SOURCE_TOKEN")]
    pub source_token: Option<PathBuf>,
    /// Talk to istiod without TLS, for tests
    #[arg(long, env = "WAYSTEER_SOURCE_PLAINTEXT", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub source_plaintext: Option<bool>,
    /// The agent's own pod
    #[arg(long, env = "WAYSTEER_SOURCE_POD_NAME")]
    pub source_pod_name: Option<String>,
    /// The namespace of the agent's own pod, which is that of its token [default: istio-system]
    #[arg(long, env = "WAYSTEER_SOURCE_POD_NAMESPACE")]
    pub source_pod_namespace: Option<String>,
    /// The address of the agent's own pod
    #[arg(long, env = "WAYSTEER_SOURCE_POD_IP")]
    pub source_pod_ip: Option<IpAddr>,
    /// The cluster's domain [default: cluster.local]
    #[arg(long, env = "WAYSTEER_SOURCE_DOMAIN")]
    pub source_domain: Option<String>,
    /// The version of Istio that istiod takes the agent for [default: the newest it knows]
    #[arg(long, env = "WAYSTEER_SOURCE_ISTIO_VERSION")]
    pub source_istio_version: Option<String>,
}
