//! From what was given to what holds.

mod source;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::file::{FileAdmin, FileConfig, FileTraffic, FileTunnel, TunnelKind};
use super::{
    Admin, CgroupRoot, Config, ConfigArgs, ConfigError, DirectLocal, EXPEDITE_RCU_FILE,
    ExpediteRcu, Identity, LogFormat, OnStop, PIN_ROOT, Traffic, Tunnel,
};

const ADMIN_PORT: u16 = 15030;
const ADMIN_SOCKET: &str = "/run/waysteer/admin.sock";
const CA_DIR: &str = "/run/waysteer/ca";
const ZTUNNEL_SOCKET: &str = "/var/run/ztunnel/ztunnel.sock";
const CLUSTER_ID: &str = "Kubernetes";
const LOG: &str = "info";
const VERIFY_INTERVAL: u32 = 30;
const TRAFFIC_ENTRIES: u32 = 16_384;
const TRAFFIC_SERIES: u32 = 1_000;
/// What the kernel would need for more is not to be asked for by mistake.
const MOST_TRAFFIC_ENTRIES: u32 = 1 << 20;

/// `directory` is that of the file: relative paths in the file start there, those of arguments
/// where the agent was started.
pub(super) fn resolve(
    file: FileConfig,
    directory: &Path,
    args: &ConfigArgs,
) -> Result<Config, ConfigError> {
    // Destructured in full, so that a new key cannot be forgotten here.
    let FileConfig {
        node,
        network,
        cluster_id,
        direct_local,
        mesh_cidrs,
        cgroup,
        pin_root,
        on_stop,
        admin,
        source,
        tunnel,
        traffic,
        expedite_rcu,
        expedite_rcu_file,
        verify_interval,
        log,
        log_format,
    } = file;
    let ConfigArgs {
        node: node_arg,
        network: network_arg,
        cluster_id: cluster_id_arg,
        direct_local: direct_local_arg,
        mesh_cidrs: mesh_cidrs_arg,
        cgroup: cgroup_arg,
        pin_root: pin_root_arg,
        on_stop: on_stop_arg,
        admin_listen,
        admin_socket,
        source: source_args,
        tunnel_kind,
        tunnel_socket,
        tunnel_ca_dir,
        tunnel_certs,
        traffic_entries,
        traffic_series,
        expedite_rcu: expedite_rcu_arg,
        expedite_rcu_file: expedite_rcu_file_arg,
        verify_interval: verify_interval_arg,
        log: log_arg,
        log_format: log_format_arg,
    } = args.clone();
    let paths = Paths { directory };

    let FileAdmin { listen, socket } = admin;
    let default_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let admin = Admin {
        listen: admin_listen.or(listen).unwrap_or(default_listen),
        socket: paths
            .either(admin_socket, socket)
            .unwrap_or_else(|| PathBuf::from(ADMIN_SOCKET)),
    };

    let source = source::resolve(&paths, source, source_args)?;

    let FileTunnel {
        kind,
        socket,
        ca_dir,
        certs,
    } = tunnel;
    let tunnel = match tunnel_kind.or(kind).unwrap_or(TunnelKind::Embedded) {
        TunnelKind::Embedded => {
            let other = "tunnel.kind = \"embedded\"";
            unused(other, "tunnel.socket", tunnel_socket.or(socket))?;
            Tunnel::Embedded {
                identity: identity(&paths, [tunnel_ca_dir, tunnel_certs], [ca_dir, certs])?,
            }
        }
        TunnelKind::Ztunnel => {
            let other = "tunnel.kind = \"ztunnel\"";
            unused(other, "tunnel.ca_dir", tunnel_ca_dir.or(ca_dir))?;
            unused(other, "tunnel.certs", tunnel_certs.or(certs))?;
            Tunnel::Ztunnel {
                socket: paths
                    .either(tunnel_socket, socket)
                    .unwrap_or_else(|| PathBuf::from(ZTUNNEL_SOCKET)),
            }
        }
    };

    let file = paths.either(expedite_rcu_file_arg, expedite_rcu_file);
    let expedite_rcu = if expedite_rcu_arg.or(expedite_rcu).unwrap_or(true) {
        ExpediteRcu::By(file.unwrap_or_else(|| PathBuf::from(EXPEDITE_RCU_FILE)))
    } else {
        unused("expedite_rcu = false", "expedite_rcu_file", file)?;
        ExpediteRcu::Never
    };

    // An embedded tunnel ends with the agent, and captured flows would be held.
    let default_on_stop = match &tunnel {
        Tunnel::Embedded { .. } => OnStop::Undo,
        Tunnel::Ztunnel { .. } => OnStop::Leave,
    };
    let FileTraffic { entries, series } = traffic;
    let either = |arg: Option<NonZeroU32>, file: Option<NonZeroU32>, default| {
        arg.or(file).map_or(default, NonZeroU32::get)
    };
    let traffic = Traffic {
        entries: either(traffic_entries, entries, TRAFFIC_ENTRIES),
        series: either(traffic_series, series, TRAFFIC_SERIES),
    };
    if traffic.entries > MOST_TRAFFIC_ENTRIES {
        return Err(ConfigError::Invalid {
            key: "traffic.entries",
            value: traffic.entries.to_string(),
            expected: "1048576 or less",
        });
    }
    let cgroup = paths.either(cgroup_arg, cgroup);
    Ok(Config {
        node: not_empty("node", node_arg.or(node).ok_or_else(|| missing("node"))?)?,
        network: network_arg.or(network).unwrap_or_default(),
        cluster_id: not_empty(
            "cluster_id",
            cluster_id_arg
                .or(cluster_id)
                .unwrap_or_else(|| CLUSTER_ID.to_owned()),
        )?,
        direct_local: direct_local_arg
            .or(direct_local)
            .unwrap_or(DirectLocal::Tunnel),
        mesh_cidrs: mesh_cidrs_arg
            .or(mesh_cidrs)
            .unwrap_or_default()
            .into_iter()
            .map(|cidr| cidr.trunc())
            .collect(),
        cgroup: cgroup.map_or(CgroupRoot::Detect, CgroupRoot::Path),
        pin_root: paths
            .either(pin_root_arg, pin_root)
            .unwrap_or_else(|| PathBuf::from(PIN_ROOT)),
        on_stop: on_stop_arg.or(on_stop).unwrap_or(default_on_stop),
        admin,
        source,
        tunnel,
        traffic,
        expedite_rcu,
        verify_interval: verify_interval_arg
            .or(verify_interval)
            .map_or(VERIFY_INTERVAL, NonZeroU32::get),
        log: log_arg.or(log).unwrap_or_else(|| LOG.to_owned()),
        log_format: log_format_arg.or(log_format).unwrap_or(LogFormat::Text),
    })
}

/// A key that another one makes meaningless is a mistake.
fn unused<T>(other: &'static str, key: &'static str, given: Option<T>) -> Result<(), ConfigError> {
    match given {
        Some(_) => Err(ConfigError::Meaningless { key, other }),
        None => Ok(()),
    }
}

/// Both keys say where identities come from, so one given as an argument wins over either in the
/// file.
fn identity(
    paths: &Paths<'_>,
    [ca_dir_arg, certs_arg]: [Option<PathBuf>; 2],
    [ca_dir, certs]: [Option<PathBuf>; 2],
) -> Result<Identity, ConfigError> {
    let conflict = Err(ConfigError::Conflict {
        first: "tunnel.ca_dir",
        second: "tunnel.certs",
    });
    match (ca_dir_arg, certs_arg) {
        (Some(_), Some(_)) => return conflict,
        (Some(dir), None) => return Ok(Identity::CaDir(absolute(dir))),
        (None, Some(dir)) => return Ok(Identity::Certs(absolute(dir))),
        (None, None) => {}
    }
    match (ca_dir, certs) {
        (Some(_), Some(_)) => conflict,
        (Some(dir), None) => Ok(Identity::CaDir(paths.of_file(dir))),
        (None, Some(dir)) => Ok(Identity::Certs(paths.of_file(dir))),
        (None, None) => Ok(Identity::CaDir(PathBuf::from(CA_DIR))),
    }
}

struct Paths<'d> {
    directory: &'d Path,
}

impl Paths<'_> {
    fn either(&self, argument: Option<PathBuf>, file: Option<PathBuf>) -> Option<PathBuf> {
        match argument {
            Some(path) => Some(absolute(path)),
            None => file.map(|path| self.of_file(path)),
        }
    }

    fn of_file(&self, path: PathBuf) -> PathBuf {
        absolute(self.directory.join(path))
    }
}

/// Fails only where the working directory is gone; the path means nothing then either way.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn not_empty(key: &'static str, value: String) -> Result<String, ConfigError> {
    match value.is_empty() {
        true => Err(ConfigError::Empty { key }),
        false => Ok(value),
    }
}

fn missing(key: &'static str) -> ConfigError {
    let name = key.replace('.', "_");
    ConfigError::Missing {
        key,
        flag: name.replace('_', "-"),
        env: format!("WAYSTEER_{}", name.to_uppercase()),
    }
}
