//! Responses in any order, more than once, and with names that are not theirs.

use anyhow::{Result, ensure};
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer::source::xds::proto::workload::Workload;
use waysteer_tests::istiod::Istiod;
use waysteer_tests::istiod::resources::{
    ADDRESS, AUTHORIZATION, in_service, of_policy, of_service, of_workload, removal, response,
    service, uid, waypoint, workload,
};

use super::listener::{Listener, options};
use super::protocol::{connect, greet};

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_needed() -> Result<()> {
    let mut behind = service(2);
    behind.waypoint = Some(waypoint(1));
    let policy = Authorization {
        name: "p".into(),
        namespace: "default".into(),
        ..Authorization::default()
    };
    let parts = [
        (ADDRESS, of_workload(&in_service(workload(1), 1), "1")),
        (ADDRESS, of_service(&service(1), "1")),
        (ADDRESS, of_service(&behind, "1")),
        (AUTHORIZATION, of_policy(&policy, "1")),
    ];
    let mut first = None;
    for order in [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [2, 3, 0, 1],
        [1, 3, 2, 0],
        [2, 0, 3, 1],
    ] {
        let mut server = Istiod::start().await?;
        let mut listener = Listener::start(options(server.address));
        let mut session = connect(&mut server).await?;
        for part in order {
            let (type_url, resource) = parts[part].clone();
            // Twice, and with the same nonce again and again.
            for _ in 0..2 {
                let told = response(type_url, "n", vec![resource.clone()]);
                let answer = session.exchange(told).await?;
                ensure!(answer.type_url == type_url && answer.error_detail.is_none());
            }
        }
        listener
            .until("all of it", |l| {
                let mesh = l.mesh();
                let found = (
                    mesh.workloads.len(),
                    mesh.services.len(),
                    mesh.policies.len(),
                );
                mesh.complete && found == (1, 2, 1)
            })
            .await?;
        let tables = listener.compiler.tables().clone();
        let expected = first.get_or_insert(tables.clone());
        ensure!(*expected == tables, "{order:?}");
        listener.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_is_answered_with_its_own_nonce() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    // Several under way, also without one, and one that another type has had.
    let nonces = ["1", "", "1", "x".repeat(10_000).as_str(), "0"].map(str::to_owned);
    for (number, nonce) in nonces.iter().enumerate() {
        let type_url = [ADDRESS, AUTHORIZATION][number % 2];
        session.send(response(type_url, nonce, Vec::new())).await?;
    }
    for (number, nonce) in nonces.iter().enumerate() {
        let answer = session.request().await?;
        ensure!(answer.response_nonce == *nonce && answer.error_detail.is_none());
        ensure!(answer.type_url == [ADDRESS, AUTHORIZATION][number % 2]);
    }
    listener.until("snapshot", |l| l.mesh().complete).await?;
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_before_what_it_removes_is_nothing() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    session.exchange(removal(ADDRESS, "a", &[&uid(1)])).await?;
    // In one response both are there: what it has counts.
    let mut both = response(ADDRESS, "b", vec![of_workload(&workload(1), "1")]);
    both.removed_resources = vec![uid(1), uid(1)];
    session.exchange(both).await?;
    listener
        .until("the workload", |l| l.mesh().workloads.len() == 1)
        .await?;
    // A removal of the other type's name is not of this one.
    session
        .exchange(removal(AUTHORIZATION, "c", &[&uid(1)]))
        .await?;
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().workloads.len() == 1);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_its_own_is_refused() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let mut wrong = of_workload(&workload(1), "1");
    wrong.name = uid(2);
    let told = vec![of_workload(&workload(2), "1"), wrong];
    let answer = session.exchange(response(ADDRESS, "a", told)).await?;
    let detail = answer.error_detail.unwrap_or_default().message;
    ensure!(
        detail.contains(&uid(1)) && detail.starts_with(&uid(2)),
        "{detail}"
    );
    listener
        .until("the good one", |l| l.mesh().workloads.len() == 1)
        .await?;
    let kept = listener.mesh().workloads.keys().next();
    ensure!(kept.is_some_and(|kept| *kept.0 == *uid(2)));
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_good_can_go_between_two_connections() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let bad = Workload {
        addresses: vec![vec![1]],
        ..workload(1)
    };
    session
        .exchange(response(ADDRESS, "a", vec![of_workload(&bad, "7")]))
        .await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener
        .until("a refusal", |l| {
            l.mesh().complete && l.mesh().rejected.len() == 1
        })
        .await?;
    drop(session);
    let mut session = server.accept().await?;
    let [versions, _] = greet(&mut session).await?;
    // Of no version, so that it is told again where it is still there.
    ensure!(
        versions.get(&uid(1)).map(String::as_str) == Some(""),
        "{versions:?}"
    );
    session.exchange(removal(ADDRESS, "c", &[&uid(1)])).await?;
    listener
        .until("it is gone", |l| {
            l.mesh().rejected.is_empty() && l.errors.is_empty()
        })
        .await?;
    listener.stop().await
}
