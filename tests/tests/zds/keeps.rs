//! Pods of before whose namespaces cannot be reached.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::wait::wait_until;
use waysteer_tests::zds::{Connection, Peer, Request};

use super::{PATIENCE, PODS, bed, wait_enrolled, wait_until_known};

#[test]
fn until_the_source_speaks_they_are_kept() -> Result<()> {
    let mut bed = bed()?;
    let path = bed.scratch.path().join("netns-of-client");
    symlink(bed.pod("client").netns.path(), &path)?;
    bed.write_pods(&PODS)?;
    let pods = bed.scratch.path().join("pods.yaml");
    let real = bed.pod("client").netns.path();
    let (real, linked) = (real.display().to_string(), path.display().to_string());
    let text = fs::read_to_string(&pods)?.replace(&real, &linked);
    bed.scratch.write("pods.yaml", &text)?;
    let peer = Peer::start(&bed.zds_socket())?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    wait_until(PATIENCE, "the path is the new one", || {
        let page = waysteer_tests::admin::get(&bed.socket(), "/status");
        page.is_ok_and(|(_, body)| body.contains(&linked))
    })?;
    wait_enrolled(&bed, &PODS)?;

    bed.agent.take().context("the agent")?.kill()?;
    drop(peer);
    fs::remove_file(&path)?;
    fs::remove_file(&pods)?;
    bed.start_agent()?;
    wait_until_known(&bed, &["other", "server"])?;
    wait_until(PATIENCE, "the agent listens", || {
        Connection::open_silently(&bed.zds_socket()).is_ok()
    })?;
    let peer = Peer::start(&bed.zds_socket())?;
    peer.wait(PATIENCE, "the snapshot", |seen| seen.snapshot)?;
    wait_enrolled(&bed, &["other", "server"])?;

    // The source speaks, and the namespace is there again: as of now by its own path.
    bed.write_pods(&PODS)?;
    peer.wait(PATIENCE, "client is added", |seen| {
        seen.pods.contains_key("client")
    })?;
    wait_enrolled(&bed, &PODS)?;
    let requests = peer.finish()?.requests;
    let names: Vec<String> = requests.iter().map(name).collect();
    let expected = ["keep client", "add other", "add server", "snapshot"];
    ensure!(names.starts_with(&expected.map(str::to_owned)), "{names:?}");
    ensure!(
        names.last().is_some_and(|last| last == "add client"),
        "{names:?}"
    );
    ensure!(!names.contains(&"del other".to_owned()), "{names:?}");
    Ok(())
}

fn name(request: &Request) -> String {
    match request {
        Request::Add { uid, .. } => format!("add {uid}"),
        Request::Keep { uid } => format!("keep {uid}"),
        Request::Del { uid } => format!("del {uid}"),
        Request::SnapshotSent => "snapshot".to_owned(),
    }
}
