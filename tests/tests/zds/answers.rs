//! What a ztunnel may answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::wait::wait_until;
use waysteer_tests::zds::{Answer, Peer, Request};

use super::{PATIENCE, PODS, bed, wait_enrolled, wait_for_state};

/// For each answer.
const DEADLINE: Duration = Duration::from_secs(5);

fn adds(request: &Request, pod: &str) -> bool {
    matches!(request, Request::Add { uid, .. } if uid == pod)
}

#[test]
fn a_refused_pod_is_pending_and_asked_again() -> Result<()> {
    let bed = bed()?;
    let relents = Arc::<AtomicBool>::default();
    let manner = {
        let relents = Arc::clone(&relents);
        move |_, request: &Request| match adds(request, "other") && !relents.load(Ordering::Relaxed)
        {
            true => Answer::Nack("no room here"),
            false => Answer::Ack,
        }
    };
    let peer = Peer::with(&bed.zds_socket(), true, Box::new(manner))?;
    wait_for_state(&bed, "other", "no room here")?;
    wait_enrolled(&bed, &["client", "server"])?;
    let asked = |seen: &waysteer_tests::zds::Seen| {
        let requests = seen.requests.iter();
        requests.filter(|request| adds(request, "other")).count()
    };
    let start = Instant::now();
    peer.wait(PATIENCE, "it is asked again", |seen| asked(seen) >= 3)?;
    ensure!(start.elapsed() > Duration::from_millis(100), "no backoff");
    wait_enrolled(&bed, &["client", "server"])?;
    relents.store(true, Ordering::Relaxed);
    wait_enrolled(&bed, &PODS)?;
    peer.finish()?;
    Ok(())
}

#[test]
fn a_pod_without_listeners_is_not_enrolled() -> Result<()> {
    let bed = bed()?;
    let peer = Peer::with(&bed.zds_socket(), false, Box::new(|_, _| Answer::Ack))?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    for pod in PODS {
        wait_for_state(&bed, pod, "does not listen")?;
    }
    peer.finish()?;
    Ok(())
}

#[test]
fn slow_answers_are_waited_for() -> Result<()> {
    let bed = bed()?;
    // The peer holds it against the agent if anything comes meanwhile.
    let slowly = Answer::Slowly(Duration::from_millis(700));
    let peer = Peer::with(
        &bed.zds_socket(),
        true,
        Box::new(move |_, _| slowly.clone()),
    )?;
    peer.wait(PATIENCE, "the first request", |seen| {
        !seen.requests.is_empty()
    })?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    wait_enrolled(&bed, &PODS)?;
    peer.finish()?;
    Ok(())
}

#[test]
fn no_answer_ends_the_connection_after_five_seconds() -> Result<()> {
    let bed = bed()?;
    for request in [0, 3] {
        let manner = move |number, _: &Request| match number == request {
            true => Answer::Never,
            false => Answer::Ack,
        };
        let peer = Peer::with(&bed.zds_socket(), true, Box::new(manner))?;
        peer.wait(PATIENCE, "the agent closes", |seen| seen.closed)?;
        let seen = peer.finish()?;
        let waited = seen.waited.context("it was waited for")?;
        let late = DEADLINE + Duration::from_secs(2);
        ensure!(
            (DEADLINE - Duration::from_millis(200)..late).contains(&waited),
            "{waited:?}"
        );
        ensure!(seen.requests.len() == request + 1, "{:?}", seen.requests);
    }
    serves_the_next(&bed)
}

#[test]
fn answers_that_make_no_sense_end_the_connection() -> Result<()> {
    let bed = bed()?;
    let answers = [
        Answer::Bytes(vec![0xff; 7]),
        Answer::Bytes(vec![0x12, 0x00]),
        Answer::Bytes(vec![0x0a, 0x05, 0x0a]),
        // An ack, but longer than anything may be.
        Answer::Bytes([vec![0x0a, 0x80, 0x10, 0x0a, 0xfd, 0x0f], vec![b'x'; 2045]].concat()),
        // Nobody knows which question the second one is about.
        Answer::Twice,
    ];
    for answer in answers {
        for request in [0, 3] {
            let this = answer.clone();
            let manner = move |number, _: &Request| match number == request {
                true => this.clone(),
                false => Answer::Ack,
            };
            let peer = Peer::with(&bed.zds_socket(), false, Box::new(manner))?;
            peer.wait(PATIENCE, "the agent closes", |seen| seen.closed)
                .with_context(|| format!("{answer:?} to request {request}"))?;
            peer.finish()?;
        }
    }
    serves_the_next(&bed)
}

/// Whatever the last one did.
pub(super) fn serves_the_next(bed: &waysteer_tests::bed::Bed) -> Result<()> {
    let peer = Peer::start(&bed.zds_socket())?;
    ensure!(peer.snapshot(PATIENCE)? == PODS);
    wait_enrolled(bed, &PODS)?;
    peer.finish()?;
    wait_until(PATIENCE, "none is enrolled without it", || {
        admin::metric(&bed.socket(), "waysteer_pods_enrolled", &[]).is_ok_and(|n| n == 0)
    })
}
