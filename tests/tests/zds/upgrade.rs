//! Two ztunnels at once: the old one drains while the new one begins.

use anyhow::{Result, ensure};
use waysteer_tests::zds::{Answer, Peer, Request};

use super::{PATIENCE, PODS, bed, wait_enrolled, wait_for_state, wait_until_known};

#[test]
fn adds_go_to_the_newest_and_deletes_to_all() -> Result<()> {
    let bed = bed()?;
    bed.write_pods(&["client", "server"])?;
    wait_until_known(&bed, &["client", "server"])?;
    let old = Peer::start(&bed.zds_socket())?;
    wait_enrolled(&bed, &["client", "server"])?;
    let new = Peer::start(&bed.zds_socket())?;
    ensure!(new.snapshot(PATIENCE)? == ["client", "server"]);

    bed.write_pods(&PODS)?;
    new.wait(PATIENCE, "the newest is told", |seen| {
        seen.pods.contains_key("other")
    })?;
    wait_enrolled(&bed, &PODS)?;
    bed.write_pods(&["client"])?;
    for (peer, name) in [(&old, "old"), (&new, "new")] {
        let what = format!("the {name} one is told of deletes");
        peer.wait(PATIENCE, &what, |seen| !seen.pods.contains_key("server"))?;
    }
    wait_enrolled(&bed, &["client"])?;
    let seen = old.finish()?;
    let told = |request: &Request| matches!(request, Request::Add { uid, .. } if uid == "other");
    ensure!(!seen.requests.iter().any(told), "{:?}", seen.requests);
    // The old one has gone, and nothing changes.
    wait_enrolled(&bed, &["client"])?;
    bed.write_pods(&PODS)?;
    wait_enrolled(&bed, &PODS)?;
    new.finish()?;
    Ok(())
}

#[test]
fn the_old_one_is_asked_when_the_newest_has_gone() -> Result<()> {
    let bed = bed()?;
    bed.write_pods(&["client", "server"])?;
    wait_until_known(&bed, &["client", "server"])?;
    let old = Peer::start(&bed.zds_socket())?;
    wait_enrolled(&bed, &["client", "server"])?;
    let new = Peer::start(&bed.zds_socket())?;
    new.snapshot(PATIENCE)?;
    bed.write_pods(&PODS)?;
    wait_enrolled(&bed, &PODS)?;
    new.finish()?;
    old.wait(PATIENCE, "the old one serves all", |seen| {
        seen.pods.contains_key("other")
    })?;
    wait_enrolled(&bed, &PODS)?;
    old.finish()?;
    for pod in PODS {
        wait_for_state(&bed, pod, "pending")?;
    }
    Ok(())
}

#[test]
fn pods_are_pending_while_only_the_old_one_serves_them_and_the_newest_refuses() -> Result<()> {
    let bed = bed()?;
    let old = Peer::start(&bed.zds_socket())?;
    wait_enrolled(&bed, &PODS)?;
    let manner = |_, request: &Request| match request {
        Request::Add { .. } => Answer::Nack("not yet"),
        Request::Keep { .. } | Request::Del { .. } | Request::SnapshotSent => Answer::Ack,
    };
    let new = Peer::with(&bed.zds_socket(), false, Box::new(manner))?;
    new.wait(PATIENCE, "the newest has refused", |seen| seen.snapshot)?;
    new.finish()?;
    wait_enrolled(&bed, &PODS)?;
    old.finish()?;
    Ok(())
}
