//! A real ztunnel, where one is given: `WAYSTEER_ZTUNNEL` names the binary.
//!
//! It runs as on a node: shared by all pods, in a namespace of its own, told of pods by the agent,
//! of the mesh by the bed's file, and certified by the bed's authority, so that it can talk with
//! the embedded tunnel and `hbone-peer`.

mod authority;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bed::Bed;
use crate::ip::Batch;
use crate::netns::NetNs;
use crate::process::{Process, Scratch};

use authority::Authority;

const START: Duration = Duration::from_secs(20);

/// The variable that names the binary.
pub const VARIABLE: &str = "WAYSTEER_ZTUNNEL";

/// The binary, if one is given.
pub fn find() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// What a ztunnel is started with.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Of the log.
    pub name: &'a str,
    /// As workloads have it.
    pub node: &'a str,
    /// Where its agent listens.
    pub socket: &'a Path,
    pub mesh: &'a Path,
    /// The directory of the authority.
    pub ca: &'a Path,
}

/// A running ztunnel. Dropped, it is asked to end.
#[derive(Debug)]
pub struct Ztunnel {
    pub process: Process,
    // Dropped in this order.
    _authority: Authority,
    _netns: NetNs,
}

impl Ztunnel {
    /// For the agent under test of a bed. It connects to the agent by itself, now or later.
    pub fn start(bed: &Bed, name: &str) -> Result<Self> {
        let settings = Settings {
            name,
            node: "node1",
            socket: &bed.zds_socket(),
            mesh: &bed.scratch.path().join("mesh.yaml"),
            ca: &bed.scratch.path().join("ca"),
        };
        Self::with(&settings, &bed.scratch)
    }

    pub fn with(settings: &Settings<'_>, logs: &Scratch) -> Result<Self> {
        let binary = find().with_context(|| format!("{VARIABLE} is not set"))?;
        let netns = NetNs::new(settings.name)?;
        Batch::default()
            .add(format_args!("link set lo up"))
            .run(&netns)?;
        let authority = Authority::start(&netns, settings.ca)?;
        let mut command = netns.command(binary);
        command
            .env("PROXY_MODE", "shared")
            .env("NODE_NAME", settings.node)
            .env("INPOD_UDS", settings.socket)
            .env("LOCAL_XDS_PATH", settings.mesh)
            .env("XDS_ADDRESS", "")
            .env("CA_ADDRESS", authority::ADDRESS)
            .env("CA_ROOT_CA", settings.ca.join("ca.pem"))
            .env("ZTUNNEL_WORKER_THREADS", "1")
            .env("TERMINATION_GRACE_PERIOD_SECONDS", "20")
            .env("RUST_LOG", "info");
        let mut process = Process::start(settings.name, command, logs)?;
        process.wait_for_log(START, "in-pod mode enabled")?;
        Ok(Self {
            process,
            _authority: authority,
            _netns: netns,
        })
    }
}
