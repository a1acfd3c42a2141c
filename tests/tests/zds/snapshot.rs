//! What a ztunnel is told first, and then.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::zds::{Info, Peer, Request};

use super::{PATIENCE, PODS, bed, wait_enrolled, wait_for_state, wait_until_listening};

#[test]
fn all_pods_then_the_end_of_the_snapshot_once() -> Result<()> {
    let bed = bed()?;
    for pod in PODS {
        wait_for_state(&bed, pod, "pending")?;
    }
    let peer = Peer::start(&bed.zds_socket())?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    wait_enrolled(&bed, &PODS)?;
    peer.look(|seen| {
        for (uid, netns) in &seen.pods {
            let theirs = fs::metadata(format!("/proc/self/fd/{}", netns.as_raw_fd()))?;
            let ours = fs::metadata(bed.pod(uid).netns.path())?;
            ensure!(theirs.ino() == ours.ino(), "{uid}: another namespace");
        }
        Ok(())
    })??;

    bed.write_pods(&["client", "server"])?;
    peer.wait(PATIENCE, "other is deleted", |seen| {
        !seen.pods.contains_key("other")
    })?;
    bed.write_pods(&PODS)?;
    peer.wait(PATIENCE, "other is added", |seen| {
        seen.pods.contains_key("other")
    })?;
    wait_enrolled(&bed, &PODS)?;

    let requests = peer.finish()?.requests;
    let [snapshot @ .., Request::SnapshotSent, del, add] = requests.as_slice() else {
        anyhow::bail!("{requests:?}");
    };
    let mut added: Vec<&str> = Vec::new();
    for request in snapshot {
        let Request::Add {
            uid,
            info: Some(info),
        } = request
        else {
            anyhow::bail!("{request:?} in the snapshot");
        };
        let wanted = Info {
            name: uid.clone(),
            namespace: "default".to_owned(),
            service_account: uid.clone(),
        };
        ensure!(*info == wanted, "{info:?}");
        added.push(uid);
    }
    added.sort_unstable();
    ensure!(added == PODS, "{added:?}");
    let uid = "other".to_owned();
    ensure!(*del == Request::Del { uid }, "{del:?}");
    ensure!(
        matches!(add, Request::Add { uid, .. } if uid == "other"),
        "{add:?}"
    );
    Ok(())
}

#[test]
fn a_restarted_agent_sends_no_snapshot_that_lacks_a_pod() -> Result<()> {
    let mut bed = bed()?;
    for kill in [true, false] {
        let peer = Peer::start(&bed.zds_socket())?;
        ensure!(peer.snapshot(PATIENCE)? == PODS);
        wait_enrolled(&bed, &PODS)?;
        let agent = bed.agent.as_mut().context("the agent")?;
        if kill {
            agent.kill()?;
        } else {
            agent.terminate()?;
        }
        peer.wait(PATIENCE, "the agent is gone", |seen| seen.closed)?;
        // Its ports stay open, as a ztunnel's do.
        bed.start_agent()?;
        wait_until_listening(&bed)?;
        let again = Peer::start(&bed.zds_socket())?;
        ensure!(again.snapshot(PATIENCE)? == PODS);
        wait_enrolled(&bed, &PODS)?;
    }
    Ok(())
}
