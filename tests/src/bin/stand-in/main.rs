//! A stand-in for ztunnel: it is told of its pods over ZDS, opens their ports by setns, and carries
//! their traffic.
//!
//! The session is the tests' own, and as strict as a ztunnel's. The proxy behind it is the agent's
//! embedded one, which here has no access to the agent's maps: as a ztunnel it decides again, from
//! the original destination, over tables that it compiles from the same mesh file.
//!
//! On SIGTERM it lets its agent go, closes its listeners, and ends once its connections have. What
//! breaks the protocol's rules ends it at once, with code 3.

mod mesh;
mod pods;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use pods::Pods;

#[derive(Debug, Parser)]
struct Args {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    /// The agent's mesh file.
    #[arg(long)]
    mesh: PathBuf,
    /// The agent's node.
    #[arg(long)]
    node: String,
    /// The mesh's authority.
    #[arg(long)]
    ca: PathBuf,
    /// For so many seconds connections may go on after SIGTERM.
    #[arg(long, default_value_t = 60)]
    drain: u64,
}

fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let args = Args::parse();
    waysteer_tests::process::raise_file_limit()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(args))
}

async fn run(args: Args) -> Result<ExitCode> {
    let Args {
        socket,
        mesh,
        node,
        ca,
        drain,
    } = args;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let pods = Arc::new(Pods::new(&ca, node)?);
    let following = tokio::spawn(mesh::follow(mesh, Arc::clone(&pods)));
    let session = session::start(socket, Arc::clone(&pods))?;
    tokio::select! {
        _ = terminate.recv() => {}
        ended = following => ended.context("the mesh's task")??,
        violation = session.violated() => {
            println!("violation: {violation}");
            return Ok(ExitCode::from(3));
        }
    }
    session.stop();
    println!("draining");
    pods.drain(Duration::from_secs(drain)).await;
    println!("drained");
    Ok(ExitCode::SUCCESS)
}
