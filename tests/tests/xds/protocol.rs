//! Subscription, acknowledgement, removal, and what a new connection begins with.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use prost_types::value::Kind;
use waysteer::model::{NamespacedName, Uid};
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer::source::xds::proto::workload::Workload;

use super::listener::{Listener, options};
use waysteer_tests::istiod::resources::{
    ADDRESS, AUTHORIZATION, hostname, in_service, of_policy, of_service, of_workload, removal,
    response, service, uid, workload,
};
use waysteer_tests::istiod::{Istiod, Session};

/// The two first requests.
pub(super) async fn greet(session: &mut Session) -> Result<[HashMap<String, String>; 2]> {
    let address = session.request().await?;
    let authorization = session.request().await?;
    ensure!(address.type_url == ADDRESS && authorization.type_url == AUTHORIZATION);
    for request in [&address, &authorization] {
        ensure!(request.resource_names_subscribe.is_empty());
        ensure!(request.response_nonce.is_empty() && request.error_detail.is_none());
    }
    ensure!(authorization.node.is_none());
    let node = address.node.unwrap_or_default();
    ensure!(
        node.id == "ztunnel~10.1.0.100~waysteer-abcde.istio-system~istio-system.svc.cluster.local"
    );
    let metadata = node.metadata.unwrap_or_default().fields;
    for (key, expected) in [
        ("NAMESPACE", "istio-system"),
        ("NODE_NAME", "node1"),
        ("CLUSTER_ID", "cluster1"),
        ("ISTIO_VERSION", "1.31.0"),
    ] {
        let found = metadata.get(key).and_then(|value| value.kind.clone());
        ensure!(
            found == Some(Kind::StringValue(expected.into())),
            "{key}: {found:?}"
        );
    }
    Ok([
        address.initial_resource_versions,
        authorization.initial_resource_versions,
    ])
}

pub(super) async fn connect(server: &mut Istiod) -> Result<Session> {
    let mut session = server.accept().await?;
    let versions = greet(&mut session).await?;
    ensure!(versions.iter().all(HashMap::is_empty), "{versions:?}");
    Ok(session)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_types_make_a_snapshot() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let cluster = session
        .metadata
        .get("clusterid")
        .and_then(|v| v.to_str().ok());
    ensure!(cluster == Some("cluster1"));
    let all = vec![
        // Dangling both ways until the other half arrives.
        of_workload(&in_service(workload(1), 1), "1"),
        of_workload(&in_service(workload(2), 2), "1"),
        of_service(&service(1), "1"),
    ];
    let answer = session.exchange(response(ADDRESS, "a", all)).await?;
    ensure!(
        answer.error_detail.is_none() && answer.node.is_none(),
        "{answer:?}"
    );
    listener
        .until("workloads", |l| l.mesh().workloads.len() == 2)
        .await?;
    ensure!(!listener.mesh().complete);
    let policy = Authorization {
        name: "deny".into(),
        namespace: "default".into(),
        ..Authorization::default()
    };
    let answer = session
        .exchange(response(AUTHORIZATION, "b", vec![of_policy(&policy, "1")]))
        .await?;
    ensure!(answer.error_detail.is_none());
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().policies.len() == 1 && listener.mesh().rejected.is_empty());
    ensure!(listener.errors.is_empty(), "{:?}", listener.errors);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_removed_whatever_they_name() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let all = vec![
        of_workload(&in_service(workload(1), 1), "1"),
        of_workload(&workload(2), "1"),
        of_service(&service(1), "1"),
    ];
    session.exchange(response(ADDRESS, "a", all)).await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    let name = format!("default/{}", hostname(1));
    let gone = removal(ADDRESS, "c", &[&uid(1), &name, "nobody/knows"]);
    session.exchange(gone).await?;
    listener
        .until("removal", |l| {
            l.mesh().complete && l.mesh().workloads.len() == 1
        })
        .await?;
    ensure!(listener.mesh().workloads.contains_key(&Uid(uid(2).into())));
    ensure!(listener.mesh().services.is_empty());
    let tables = listener.compiler.tables();
    ensure!(
        tables.services.is_empty() && tables.endpoints.is_empty(),
        "{tables:?}"
    );
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_tells_what_is_known_and_nothing_blinks() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let all = || {
        let endpoints = (1..50).map(|n| of_workload(&in_service(workload(n), 1), "7"));
        endpoints
            .chain([of_service(&service(1), "8")])
            .collect::<Vec<_>>()
    };
    session.exchange(response(ADDRESS, "a", all())).await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener.until("snapshot", |l| l.mesh().complete).await?;
    let before = listener.writes;
    drop(session);
    let mut session = server.accept().await?;
    let [addresses, policies] = greet(&mut session).await?;
    ensure!(addresses.len() == 50 && policies.is_empty());
    ensure!(addresses.get(&uid(3)).map(String::as_str) == Some("7"));
    // Everything again, as old versions do; then one real change.
    session.exchange(response(ADDRESS, "c", all())).await?;
    session
        .exchange(response(AUTHORIZATION, "d", Vec::new()))
        .await?;
    listener.drain().await;
    ensure!(
        listener.writes == before,
        "{} writes",
        listener.writes - before
    );
    let changed = Workload {
        addresses: vec![vec![10, 9, 9, 9]],
        ..workload(60)
    };
    session
        .exchange(response(ADDRESS, "e", vec![of_workload(&changed, "9")]))
        .await?;
    listener
        .until("change", |l| l.mesh().workloads.len() == 50)
        .await?;
    ensure!(
        listener.writes == before + 1,
        "{} writes",
        listener.writes - before
    );
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalid_is_refused_by_name_and_keeps_its_last_good_version() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let bad = |number: u16| Workload {
        addresses: vec![vec![1, 2, 3]],
        ..workload(number)
    };
    let first = vec![of_workload(&workload(1), "1"), of_workload(&bad(2), "1")];
    let answer = session.exchange(response(ADDRESS, "a", first)).await?;
    let detail = answer.error_detail.unwrap_or_default();
    ensure!(
        detail.code == 3 && detail.message.contains(&uid(2)),
        "{detail:?}"
    );
    ensure!(detail.message.contains("4 or 16 bytes"), "{detail:?}");
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().workloads.len() == 1 && listener.mesh().rejected.len() == 1);
    listener.until("report", |l| l.errors.len() == 1).await?;

    let second = vec![of_workload(&bad(1), "2"), of_workload(&workload(3), "2")];
    let answer = session.exchange(response(ADDRESS, "c", second)).await?;
    ensure!(
        answer
            .error_detail
            .is_some_and(|detail| detail.message.contains(&uid(1)))
    );
    listener
        .until("the rest", |l| l.mesh().workloads.len() == 2)
        .await?;
    let kept = &listener.mesh().workloads[&Uid(uid(1).into())];
    let address: std::net::IpAddr = "10.0.0.1".parse()?;
    ensure!(kept.addresses == [address]);
    // What was refused may forbid what it allows.
    let mesh = listener.mesh();
    ensure!(mesh.doubted == [address].into() && mesh.rejected.len() == 1);

    // Put right, and the other one removed.
    session
        .exchange(response(ADDRESS, "d", vec![of_workload(&workload(1), "3")]))
        .await?;
    session.exchange(removal(ADDRESS, "e", &[&uid(2)])).await?;
    listener
        .until("all well", |l| {
            let mesh = l.mesh();
            l.errors.is_empty() && mesh.rejected.is_empty() && mesh.doubted.is_empty()
        })
        .await?;
    drop(session);
    let mut session = server.accept().await?;
    let [versions, _] = greet(&mut session).await?;
    ensure!(versions.get(&uid(1)).map(String::as_str) == Some("3"));
    ensure!(!versions.contains_key(&uid(2)));
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_read_forbids_every_bypass_until_it_can() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    session
        .exchange(response(ADDRESS, "a", vec![of_workload(&workload(1), "1")]))
        .await?;
    let good = of_policy(
        &Authorization {
            name: "deny".into(),
            namespace: "default".into(),
            ..Authorization::default()
        },
        "1",
    );
    let mut broken = good.clone();
    if let Some(any) = &mut broken.resource {
        any.value = vec![0xff, 0xff];
    }
    let answer = session
        .exchange(response(AUTHORIZATION, "b", vec![broken.clone()]))
        .await?;
    ensure!(
        answer
            .error_detail
            .is_some_and(|detail| detail.message.contains("default/deny"))
    );
    listener.until("snapshot", |l| l.mesh().complete).await?;
    let name = NamespacedName::new("default", "deny");
    let unknown = |l: &Listener| {
        let policies = l.mesh().policies.values();
        policies.filter(|policy| policy.unknown.is_some()).count()
    };
    ensure!(unknown(&listener) == 1 && !listener.mesh().policies.contains_key(&name));
    let mut tell = async |nonce, policy| {
        let policies = response(AUTHORIZATION, nonce, vec![policy]);
        session.exchange(policies).await
    };
    tell("c", good.clone()).await?;
    listener
        .until("it can be read", |l| {
            unknown(l) == 0 && l.mesh().policies.contains_key(&name)
        })
        .await?;
    // The last good version stays, but there is something that nobody knows.
    tell("d", broken).await?;
    listener
        .until("an update that cannot be read", |l| {
            unknown(l) == 1 && l.mesh().policies.contains_key(&name)
        })
        .await?;
    session
        .exchange(removal(AUTHORIZATION, "e", &["default/deny"]))
        .await?;
    listener
        .until("gone", |l| l.mesh().policies.is_empty())
        .await?;
    listener.stop().await
}
