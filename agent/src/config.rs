//! The agent's configuration: flags, then environment, then file, then defaults.
//!
//! What comes out has no optional parts left: who reads a [`Config`] never asks what the default
//! is.

mod args;
mod file;
mod resolve;

#[cfg(test)]
mod tests;

pub use args::{ConfigArgs, SourceArgs};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where pins are unless told otherwise.
pub const PIN_ROOT: &str = "/sys/fs/bpf/waysteer";

/// The kernel's parameter that makes grace periods short, unless told otherwise.
pub const EXPEDITE_RCU_FILE: &str = "/sys/kernel/rcu_expedited";

/// The effective configuration. Serialises to what `waysteer run` logs when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// This node's name, as workloads have it in `node`.
    pub node: String,
    /// The network that this node's pods are on.
    pub network: String,
    pub cluster_id: String,
    pub direct_local: DirectLocal,
    /// The cluster's pod and service ranges: an unknown destination in them is steered.
    pub mesh_cidrs: Vec<IpNet>,
    pub cgroup: CgroupRoot,
    /// Where programs, maps and links are pinned; on a bpf file system.
    pub pin_root: PathBuf,
    pub on_stop: OnStop,
    pub admin: Admin,
    pub source: Source,
    pub tunnel: Tunnel,
    pub traffic: Traffic,
    pub expedite_rcu: ExpediteRcu,
    /// Seconds between two looks at a pod of which nothing was heard.
    pub verify_interval: u32,
    /// A filter as `tracing_subscriber::EnvFilter` reads it.
    pub log: String,
    pub log_format: LogFormat,
}

/// How HBONE workloads on this node reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DirectLocal {
    /// Through the tunnel, like anything else.
    Tunnel,
    /// From pod to pod where every policy that applies allows it.
    Bypass,
}

/// What becomes of captured pods when the agent is told to stop. One that is killed leaves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They stay captured, and the next agent goes on with them.
    Leave,
    /// They are let go, and nothing of the agent stays.
    Undo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Whether the kernel's grace periods are made short while programs are attached or taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpediteRcu {
    Never,
    /// By this file of the kernel's, `rcu_expedited`.
    By(PathBuf),
}

impl ExpediteRcu {
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Never => None,
            Self::By(file) => Some(file),
        }
    }
}

/// The root of the cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupRoot {
    /// Where the host has mounted it.
    Detect,
    Path(PathBuf),
}

impl CgroupRoot {
    pub fn given(&self) -> Option<&Path> {
        match self {
            Self::Detect => None,
            Self::Path(path) => Some(path),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Of `/livez`, `/readyz`, `/metrics` and `/debug`.
    pub listen: SocketAddr,
    /// Of the command line tools; for root only.
    pub socket: PathBuf,
}

/// How finely connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Pairs of a pod and what it connects to that the kernel counts apart.
    pub entries: u32,
    /// Pairs of workloads that have metrics of their own.
    pub series: u32,
}

/// Where the mesh and the local pods come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    File { mesh: PathBuf, pods: PathBuf },
    Xds(Xds),
}

/// The mesh from istiod, the local pods from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Xds {
    /// `HOST:PORT` of istiod.
    pub address: String,
    pub transport: Transport,
    /// The file with the bearer token; none only in plaintext.
    pub token: Option<PathBuf>,
    /// The agent's own pod, as istiod finds it in the token.
    pub pod_name: String,
    pub pod_namespace: String,
    pub pod_ip: IpAddr,
    /// The cluster's.
    pub domain: String,
    /// What istiod takes the agent for; nothing is the newest.
    pub istio_version: Option<String>,
    pub pods: PathBuf,
}

/// How istiod is talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// For tests.
    Plaintext,
    Tls {
        /// The file with the authorities to trust.
        root_ca: PathBuf,
        /// The name in istiod's certificate, where it is not that of the address.
        server_name: Option<String>,
    },
}

/// What turns application bytes into HBONE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Tunnel {
    Embedded {
        identity: Identity,
    },
    /// The agent listens on this socket, and ztunnel connects.
    Ztunnel {
        socket: PathBuf,
    },
}

/// Where the embedded tunnel's certificates come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// From an authority kept in this directory, which is made where there is none.
    CaDir(PathBuf),
    /// From this directory: `NAME.pem` and `NAME.key` for each identity, and `ca.pem`.
    Certs(PathBuf),
}

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}:{line}: {message}", path.display())]
    Parse {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        message: String,
    },
    #[error("{key} is not set: write it in the configuration file, or give --{flag} or {env}")]
    Missing {
        key: &'static str,
        flag: String,
        env: String,
    },
    #[error("{first} and {second} exclude each other: give one of them")]
    Conflict {
        first: &'static str,
        second: &'static str,
    },
    #[error("{key} means nothing with {other}: remove it")]
    Meaningless {
        key: &'static str,
        /// Key and value, e.g. `tunnel.kind = "ztunnel"`.
        other: &'static str,
    },
    #[error("{key} is {value:?}, which is not {expected}")]
    Invalid {
        key: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("{key} must not be empty")]
    Empty { key: &'static str },
}

impl Config {
    /// Reads the file, if there is one, and lays the arguments over it. A file whose name ends in
    /// `.yaml` or `.yml` is YAML, any other TOML.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key or a value that cannot be one, or when
    /// something without a default is given nowhere.
    pub fn load(path: Option<&Path>, args: &ConfigArgs) -> Result<Self, ConfigError> {
        let (file, directory) = match path {
            Some(path) => (file::read(path)?, path.parent()),
            None => (file::FileConfig::default(), None),
        };
        resolve::resolve(file, directory.unwrap_or(Path::new("")), args)
    }
}
