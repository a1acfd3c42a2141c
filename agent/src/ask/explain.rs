//! `waysteer explain`: the agent is asked; without one, the program that it has left is run.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::task::block_in_place;

use super::escaped;
use crate::cli::ExplainArgs;
use crate::client::{self, ClientError};
use crate::explain::{Explained, flow, met};
use crate::kernel::contents::Contents;
use crate::kernel::explain::Explainer;
use crate::kernel::records::{Record, Records};
use crate::names::Names;
use crate::names::pods::{PodNames as _, find};
use crate::show;

/// # Errors
/// When the pod or the destination is not known, or nobody can be asked.
pub async fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (pod, destination) = (escaped(&args.pod), escaped(&args.destination));
    let mut page = format!("/explain?pod={pod}&destination={destination}");
    if let Some(port) = args.from_port {
        page.push_str(&format!("&from_port={port}"));
    }
    let answer = match client::get(&args.client.socket, &page).await {
        Err(error @ ClientError::Connect { .. }) => {
            eprintln!("waysteer: {error}; asking what it has left, without names");
            let explained = block_in_place(|| without_agent(args))?;
            serde_json::to_string(&explained)?
        }
        answer => answer?,
    };
    let shown = show::explain(&answer, super::width())?;
    super::print(&answer, &shown, args.output.output)
}

fn without_agent(args: &ExplainArgs) -> anyhow::Result<Explained> {
    let destination: SocketAddr = args.destination.parse().with_context(|| {
        format!(
            "{} is not ADDRESS:PORT, and names are not known without an agent",
            args.destination
        )
    })?;
    if args.from_port.is_some() {
        bail!(
            "--from-port needs an agent; waysteer dump flows --pod {} shows what is open",
            args.pod
        );
    }
    let contents = Contents::open(&args.pin_root)?;
    let (netns, record) = record(&args.pin_root, &args.pod)?;
    let explainer = Explainer::pinned(contents.generation())?;
    let explained = explainer.why(netns, destination.ip(), destination.port())?;
    let explained = explained.with_context(|| {
        format!(
            "no map has pod {}: its connections are not judged",
            args.pod
        )
    })?;
    let names = Names::default();
    let pod = record.full_name();
    Ok(Explained {
        flow: flow(pod, destination, &explained.verdict, &names),
        connection: None,
        understood: None,
        met: met(&explained.met, &names),
    })
}

/// A pod by what was written down when it was captured, with its netns cookie.
fn record(root: &Path, asked: &str) -> anyhow::Result<(u64, Record)> {
    let mut all = Vec::new();
    if let Some(records) = Records::look(root)? {
        for (netns, record) in records.all()? {
            all.push((netns, record?));
        }
    }
    Ok(find(&all, asked)?.clone())
}
