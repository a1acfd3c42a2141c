//! Flags and environment variables.

mod source;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::file::TunnelKind;
use super::{DirectLocal, LogFormat, OnStop};
pub use source::SourceArgs;

/// Every key of the configuration file; a flag wins over its variable, both over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Configuration (flag, else variable, else file)")]
pub struct ConfigArgs {
    /// This node's name, as workloads have it in `node`
    #[arg(long, env = "WAYSTEER_NODE")]
    pub node: Option<String>,
    /// The network that this node's pods are on [default: the unnamed one]
    #[arg(long, env = "WAYSTEER_NETWORK")]
    pub network: Option<String>,
    /// This cluster's name [default: Kubernetes]
    #[arg(long, env = "WAYSTEER_CLUSTER_ID")]
    pub cluster_id: Option<String>,
    /// How HBONE workloads on this node reach each other [default: tunnel]
    #[arg(long, env = "WAYSTEER_DIRECT_LOCAL")]
    pub direct_local: Option<DirectLocal>,
    /// The cluster's pod and service ranges, separated by commas: unknown destinations in them
    /// are steered, not bypassed
    #[arg(long, env = "WAYSTEER_MESH_CIDRS", value_delimiter = ',')]
    pub mesh_cidrs: Option<Vec<IpNet>>,
    /// The root of the cgroup v2 hierarchy [default: where it is mounted]
    #[arg(long, env = "WAYSTEER_CGROUP")]
    pub cgroup: Option<PathBuf>,
    /// Where programs, maps and links are pinned, on a bpf file system
    /// [default: /sys/fs/bpf/waysteer]
    #[arg(long, env = "WAYSTEER_PIN_ROOT")]
    pub pin_root: Option<PathBuf>,
    /// What becomes of captured pods when the agent is told to stop [default: undo with the
    /// embedded tunnel, which ends with the agent, else leave]
    #[arg(long, env = "WAYSTEER_ON_STOP")]
    pub on_stop: Option<OnStop>,
    /// Where health, metrics and debug pages are served [default: 127.0.0.1:15030]
    #[arg(long, env = "WAYSTEER_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// The command line tools' socket [default: /run/waysteer/admin.sock]
    #[arg(long, env = "WAYSTEER_ADMIN_SOCKET")]
    pub admin_socket: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
    /// What turns application bytes into HBONE [default: embedded]
    #[arg(long, env = "WAYSTEER_TUNNEL_KIND")]
    pub tunnel_kind: Option<TunnelKind>,
    /// Where ztunnel connects, if it is the tunnel [default: /var/run/ztunnel/ztunnel.sock]
    #[arg(long, env = "WAYSTEER_TUNNEL_SOCKET")]
    pub tunnel_socket: Option<PathBuf>,
    /// The directory of the embedded tunnel's local authority [default: /run/waysteer/ca]
    #[arg(long, env = "WAYSTEER_TUNNEL_CA_DIR")]
    pub tunnel_ca_dir: Option<PathBuf>,
    /// A directory with the embedded tunnel's certificates, in place of a local authority:
    /// NAME.pem and NAME.key for each identity, and ca.pem
    #[arg(long, env = "WAYSTEER_TUNNEL_CERTS")]
    pub tunnel_certs: Option<PathBuf>,
    /// How many pairs of a pod and what it connects to are counted apart, in the kernel; further
    /// ones together [default: 16384]
    #[arg(long, env = "WAYSTEER_TRAFFIC_ENTRIES")]
    pub traffic_entries: Option<NonZeroU32>,
    /// How many pairs of workloads have metrics of their own; further ones have destination `other`
    /// [default: 1000]
    #[arg(long, env = "WAYSTEER_TRAFFIC_SERIES")]
    pub traffic_series: Option<NonZeroU32>,
    /// Make the kernel's grace periods short while programs are attached to pods: they are enrolled
    /// sooner, and all processors are interrupted each time [default: true]
    #[arg(long, env = "WAYSTEER_EXPEDITE_RCU", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub expedite_rcu: Option<bool>,
    /// The kernel's file that does it [default: /sys/kernel/rcu_expedited]
    #[arg(long, env = "WAYSTEER_EXPEDITE_RCU_FILE")]
    pub expedite_rcu_file: Option<PathBuf>,
    /// Seconds between two looks at a pod of which nothing was heard [default: 30]
    #[arg(long, env = "WAYSTEER_VERIFY_INTERVAL")]
    pub verify_interval: Option<NonZeroU32>,
    /// What is logged [default: info]
    #[arg(long, env = "WAYSTEER_LOG")]
    pub log: Option<String>,
    /// How it is logged [default: text]
    #[arg(long, env = "WAYSTEER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
