//! Wires that are slow, silent, half closed or cut.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryResponse, Resource};
use waysteer::source::xds::{XdsLimits, XdsOptions};
use waysteer_tests::istiod::resources::{
    ADDRESS, AUTHORIZATION, in_service, of_service, of_workload, resource, response, service,
    workload,
};

use waysteer_tests::istiod::{Istiod, Session};

use super::listener::{Listener, options};
use super::protocol::{connect, greet};
use super::proxy::{Proxy, Wire};

/// Silence is noticed soon.
fn impatient(proxy: &Proxy) -> XdsOptions {
    XdsOptions {
        limits: XdsLimits {
            keep_alive: Duration::from_millis(200),
            answer: Duration::from_millis(500),
            ..XdsLimits::default()
        },
        ..options(proxy.address)
    }
}

fn many() -> Vec<Resource> {
    let workloads = (0..300).map(|n| of_workload(&in_service(workload(n), n % 7), "1"));
    let services = (0..7).map(|n| of_service(&service(n), "1"));
    workloads.chain(services).collect()
}

/// The next connection that lasts: its versions, after it has taken a response. Those that a bad wire
/// let through in part come first.
async fn next_good(
    server: &mut Istiod,
    told: DeltaDiscoveryResponse,
) -> Result<([HashMap<String, String>; 2], Session)> {
    loop {
        let mut session = server.accept().await?;
        let Ok(versions) = greet(&mut session).await else {
            continue;
        };
        if session.exchange(told.clone()).await.is_ok() {
            return Ok((versions, session));
        }
    }
}

fn ended(listener: &Listener, reason: &str) -> u64 {
    listener.stats.snapshot().disconnections[reason]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_wire_brings_the_same_mesh() -> Result<()> {
    for most in [1, 7, 1000] {
        let mut server = Istiod::start().await?;
        let proxy = Proxy::start(server.address, Wire::Slow(most)).await?;
        let mut listener = Listener::start(options(proxy.address));
        let mut session = connect(&mut server).await?;
        // A few bytes at a time are for a small one.
        let all = if most < 100 {
            many().split_off(290)
        } else {
            many()
        };
        let count = all.len();
        let answer = session.exchange(response(ADDRESS, "a", all)).await?;
        ensure!(answer.error_detail.is_none(), "{answer:?}");
        session
            .exchange(response(AUTHORIZATION, "b", Vec::new()))
            .await?;
        listener.until("snapshot", |l| l.mesh().complete).await?;
        let mesh = listener.mesh();
        ensure!(mesh.workloads.len() + mesh.services.len() == count);
        ensure!(listener.stats.snapshot().connections == 1);
        listener.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_left() -> Result<()> {
    let mut server = Istiod::start().await?;
    let proxy = Proxy::start(server.address, Wire::Passes).await?;
    let mut listener = Listener::start(impatient(&proxy));
    let mut session = connect(&mut server).await?;
    session.exchange(response(ADDRESS, "a", many())).await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener.until("snapshot", |l| l.mesh().complete).await?;
    let writes = listener.writes;
    proxy.set(Wire::Silent);
    listener
        .until("it is noticed", |l| !l.errors.is_empty())
        .await?;
    ensure!(ended(&listener, "transport") > 0, "{:?}", listener.errors);
    ensure!(!listener.stats.snapshot().connected);
    ensure!(listener.mesh().workloads.len() == 300 && listener.writes == writes);
    proxy.set(Wire::Passes);
    let told = response(ADDRESS, "c", many());
    let ([versions, _], _session) = next_good(&mut server, told).await?;
    ensure!(versions.len() == 307, "{}", versions.len());
    listener
        .until("all is well", |l| l.errors.is_empty())
        .await?;
    ensure!(listener.writes == writes);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_wire_is_left() -> Result<()> {
    let mut server = Istiod::start().await?;
    let proxy = Proxy::start(server.address, Wire::Passes).await?;
    let mut listener = Listener::start(options(proxy.address));
    let mut session = connect(&mut server).await?;
    session.exchange(response(ADDRESS, "a", many())).await?;
    listener
        .until("workloads", |l| l.mesh().workloads.len() == 300)
        .await?;
    proxy.set(Wire::HalfClosed);
    listener
        .until("it is noticed", |l| !l.errors.is_empty())
        .await?;
    proxy.set(Wire::Passes);
    let told = response(AUTHORIZATION, "b", Vec::new());
    let ([versions, policies], _session) = next_good(&mut server, told).await?;
    ensure!(versions.len() == 307 && policies.is_empty());
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().workloads.len() == 300);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_is_none() -> Result<()> {
    let mut server = Istiod::start().await?;
    let proxy = Proxy::start(server.address, Wire::Cut(8000)).await?;
    let mut listener = Listener::start(options(proxy.address));
    for _ in 0..3 {
        let mut session = connect(&mut server).await?;
        session.send(response(ADDRESS, "a", many())).await?;
        // The next attempt is proof that this one ended.
        let answer = session.request().await;
        ensure!(answer.is_err(), "{answer:?}");
        listener.drain_now();
        ensure!(listener.mesh().workloads.is_empty() && listener.writes <= 1);
    }
    proxy.set(Wire::Passes);
    let told = response(ADDRESS, "a", many());
    let (_, mut session) = next_good(&mut server, told).await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().workloads.len() == 300);
    ensure!(ended(&listener, "transport") >= 3);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_not_taken() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(XdsOptions {
        limits: XdsLimits {
            message: 64 << 10,
            ..XdsLimits::default()
        },
        ..options(server.address)
    });
    let mut session = connect(&mut server).await?;
    let small = vec![of_workload(&workload(1), "1")];
    session.exchange(response(ADDRESS, "a", small)).await?;
    let large = resource("large", "1", ADDRESS, vec![0xff; 65 << 10]);
    session.send(response(ADDRESS, "b", vec![large])).await?;
    listener
        .until("it is told", |l| {
            l.errors
                .iter()
                .any(|(_, error)| error.contains("too large"))
        })
        .await?;
    ensure!(ended(&listener, "status") + ended(&listener, "transport") == 1);
    ensure!(listener.mesh().workloads.len() == 1);
    // The next connection is told what the last one had.
    let mut session = server.accept().await?;
    let [versions, _] = greet(&mut session).await?;
    ensure!(versions.len() == 1);
    let fits = resource("fits", "1", ADDRESS, vec![0xff; 60 << 10]);
    let answer = session.exchange(response(ADDRESS, "c", vec![fits])).await?;
    ensure!(answer.error_detail.is_some());
    listener.stop().await
}
