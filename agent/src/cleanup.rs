//! `waysteer cleanup`: takes away everything that agents have ever made on this node, and nothing
//! else. An agent that runs is asked to undo what it did and to end; what is left then, or was left
//! long ago, goes by the pins, by what was written down, and by our rules in the network namespaces
//! that can be found.

mod files;
mod inventory;
mod netns;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

pub(crate) use self::files::MADE;
use self::inventory::{CONNECTIONS, Item, PARAMETER};
use crate::cli::CleanupArgs;
use crate::client;
use crate::config::PIN_ROOT;
use crate::kernel::pins::{PinError, PinRoot};

/// How long a running agent may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// What was there and is no more; with `--dry-run`, what would be removed.
    removed: Vec<Item>,
    /// What is still there.
    left: Vec<Item>,
    errors: Vec<String>,
}

/// Removes, and prints what.
///
/// # Errors
/// When something is left.
pub async fn run(args: &CleanupArgs) -> anyhow::Result<()> {
    let CleanupArgs {
        pin_root,
        tunnel_socket,
        dry_run,
        json,
        client,
    } = args;
    let agent = agent_root(&client.socket).await;
    let root = match (pin_root, &agent) {
        (Some(given), _) => given.clone(),
        (None, Some(of_agent)) => of_agent.clone(),
        (None, None) => PathBuf::from(PIN_ROOT),
    };
    let sockets = &[client.socket.clone(), tunnel_socket.clone()];
    let before = block_in_place(|| inventory::take(&root, sockets));
    let outcome = if *dry_run {
        Outcome {
            removed: before.items,
            left: Vec::new(),
            errors: before.errors,
        }
    } else {
        if agent.as_ref() == Some(&root) {
            client::post(&client.socket, "/cleanup", "").await?;
            wait_for_end(&root).await?;
        }
        let errors = block_in_place(|| remove(&root, sockets))?;
        let after = block_in_place(|| inventory::take(&root, sockets));
        let is_left = |item: &Item| after.items.contains(item);
        let (_, removed) = before.items.into_iter().partition(is_left);
        Outcome {
            removed,
            left: after.items,
            errors,
        }
    };
    tell(&outcome, *dry_run, *json)?;
    match outcome.left.len() + outcome.errors.len() {
        0 => Ok(()),
        _ => bail!("not everything could be removed"),
    }
}

/// The directory of pins of the agent that answers there, if any does.
async fn agent_root(socket: &Path) -> Option<PathBuf> {
    let config = client::get(socket, "/debug/config").await.ok()?;
    let config: serde_json::Value = serde_json::from_str(&config).ok()?;
    config["pin_root"].as_str().map(PathBuf::from)
}

/// Until the directory is nobody's.
async fn wait_for_end(root: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match PinRoot::find(root) {
            Err(PinError::InUse { .. }) if Instant::now() < deadline => sleep(PAUSE).await,
            // Removed under our hands.
            Err(PinError::Failed { .. }) if !root.exists() => return Ok(()),
            other => {
                other.context("the agent did not end")?;
                return Ok(());
            }
        }
    }
}

/// In the order in which an agent does it: out of the maps, so that nothing is marked any more;
/// programs; rules; what was written down; the rest.
fn remove(root: &Path, sockets: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut errors = Vec::new();
    match PinRoot::find(root)? {
        Some(root) => inventory::remove(root, &mut errors),
        // Pins are gone, by a reboot of the node or by hand; rules may be there all the same.
        None => netns::remove_orphans(root, &[], &mut errors),
    }
    files::remove(sockets, &mut errors);
    Ok(errors)
}

fn tell(outcome: &Outcome, dry_run: bool, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    for item in &outcome.removed {
        match (item.kind, dry_run) {
            (CONNECTIONS, true) => println!("would end {item}"),
            (CONNECTIONS, false) => println!("ended {item}"),
            (PARAMETER, true) => println!("would put back {item}"),
            (PARAMETER, false) => println!("put back {item}"),
            _ => println!("{verb} {item}"),
        }
    }
    for item in &outcome.left {
        println!("still there: {item}");
    }
    for error in &outcome.errors {
        println!("error: {error}");
    }
    if outcome.removed.is_empty() && outcome.left.is_empty() && outcome.errors.is_empty() {
        println!("there is nothing of waysteer here");
    }
    Ok(())
}
