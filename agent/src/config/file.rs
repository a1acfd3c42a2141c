//! The configuration file.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::Deserialize;

use super::{ConfigError, DirectLocal, LogFormat, OnStop};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) node: Option<String>,
    pub(super) network: Option<String>,
    pub(super) cluster_id: Option<String>,
    pub(super) direct_local: Option<DirectLocal>,
    pub(super) mesh_cidrs: Option<Vec<IpNet>>,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) pin_root: Option<PathBuf>,
    pub(super) on_stop: Option<OnStop>,
    #[serde(default)]
    pub(super) admin: FileAdmin,
    #[serde(default)]
    pub(super) source: FileSource,
    #[serde(default)]
    pub(super) tunnel: FileTunnel,
    #[serde(default)]
    pub(super) traffic: FileTraffic,
    pub(super) expedite_rcu: Option<bool>,
    pub(super) expedite_rcu_file: Option<PathBuf>,
    pub(super) verify_interval: Option<NonZeroU32>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAdmin {
    pub(super) listen: Option<SocketAddr>,
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSource {
    pub(super) kind: Option<SourceKind>,
    pub(super) mesh: Option<PathBuf>,
    pub(super) pods: Option<PathBuf>,
    pub(super) address: Option<String>,
    pub(super) root_ca: Option<PathBuf>,
    pub(super) server_name: Option<String>,
    pub(super) token: Option<PathBuf>,
    pub(super) plaintext: Option<bool>,
    pub(super) pod_name: Option<String>,
    pub(super) pod_namespace: Option<String>,
    pub(super) pod_ip: Option<IpAddr>,
    pub(super) domain: Option<String>,
    pub(super) istio_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTunnel {
    pub(super) kind: Option<TunnelKind>,
    pub(super) socket: Option<PathBuf>,
    pub(super) ca_dir: Option<PathBuf>,
    pub(super) certs: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTraffic {
    pub(super) entries: Option<NonZeroU32>,
    pub(super) series: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A mesh file.
    File,
    /// istiod.
    Xds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    Embedded,
    Ztunnel,
}

pub(super) fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let is_yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    let parsed = match is_yaml {
        true => parse_yaml(&text),
        false => parse_toml(&text),
    };
    parsed.map_err(|(line, message)| ConfigError::Parse {
        path: path.to_path_buf(),
        line,
        message,
    })
}

/// In error: line and message.
fn parse_toml(text: &str) -> Result<FileConfig, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.as_bytes().iter().take(start);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        (line, error.message().trim().to_owned())
    })
}

/// In error: line and message.
fn parse_yaml(text: &str) -> Result<FileConfig, (usize, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let line = usize::try_from(line).unwrap_or(usize::MAX);
        (line, error.to_string())
    })
}
