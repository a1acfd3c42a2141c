//! Servers that fail, and what is kept meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tonic::Status;
use waysteer::source::xds::XdsOptions;

use super::listener::{Listener, options};
use super::protocol::{connect, greet};
use super::tls::Files;
use waysteer_tests::istiod::resources::{
    ADDRESS, AUTHORIZATION, of_workload, resource, response, uid, workload,
};
use waysteer_tests::istiod::{Istiod, Reserved};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_and_comes_again() -> Result<()> {
    let reserved = Reserved::new()?;
    let mut listener = Listener::start(options(reserved.address));
    listener
        .until("no connection", |l| !l.errors.is_empty())
        .await?;
    let mut server = Istiod::start_at(&reserved)?;
    let mut session = connect(&mut server).await?;
    session
        .exchange(response(ADDRESS, "a", vec![of_workload(&workload(1), "1")]))
        .await?;
    session
        .exchange(response(AUTHORIZATION, "b", Vec::new()))
        .await?;
    listener
        .until("snapshot", |l| l.mesh().complete && l.errors.is_empty())
        .await?;
    let writes = listener.writes;
    drop(session);
    drop(server);
    listener
        .until("no connection", |l| !l.errors.is_empty())
        .await?;
    ensure!(listener.mesh().workloads.len() == 1 && listener.writes == writes);
    ensure!(!listener.stats.snapshot().connected);
    let mut server = Istiod::start_at(&reserved)?;
    let mut session = server.accept().await?;
    let [versions, _] = greet(&mut session).await?;
    ensure!(versions.len() == 1);
    session.exchange(response(ADDRESS, "c", Vec::new())).await?;
    listener.until("all well", |l| l.errors.is_empty()).await?;
    ensure!(listener.mesh().workloads.len() == 1 && listener.writes == writes);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_read_again() -> Result<()> {
    let files = Files::new()?;
    let token = files.write("token", "old\n")?;
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(XdsOptions {
        token: Some(token.clone()),
        ..options(server.address)
    });
    let session = server.accept().await?;
    let bearer = session.metadata.get("authorization").context("no token")?;
    ensure!(bearer == "Bearer old");
    std::fs::write(&token, "new\n")?;
    session.fail(Status::unauthenticated("expired")).await;
    listener
        .until("refusal", |l| {
            l.errors.iter().any(|(_, e)| e.contains("expired"))
        })
        .await?;
    ensure!(listener.stats.snapshot().disconnections["denied"] == 1);
    let session = server.accept().await?;
    let bearer = session.metadata.get("authorization").context("no token")?;
    ensure!(bearer == "Bearer new");
    std::fs::remove_file(&token)?;
    drop(session);
    listener
        .until("no token", |l| {
            l.errors.iter().any(|(_, e)| e.contains("token"))
        })
        .await?;
    std::fs::write(&token, "newer")?;
    let session = server.accept().await?;
    let bearer = session.metadata.get("authorization").context("no token")?;
    ensure!(bearer == "Bearer newer");
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_the_stream_goes_on() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let unknown = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let answer = session.exchange(response(unknown, "a", Vec::new())).await?;
    ensure!(answer.error_detail.is_some() && answer.type_url == unknown);
    let mut empty = resource("empty", "1", ADDRESS, Vec::new());
    let odd = [
        resource("garbage", "1", ADDRESS, vec![0xff; 40]),
        resource("cut", "1", ADDRESS, vec![0x0a, 0x7f, 1]),
        resource("other", "1", AUTHORIZATION, Vec::new()),
        resource("neither", "1", ADDRESS, Vec::new()),
        {
            empty.resource = None;
            empty
        },
        of_workload(&workload(1), "1"),
        // A field of tomorrow.
        {
            let mut future = of_workload(&workload(2), "1");
            if let Some(any) = &mut future.resource {
                any.value.extend([0xfa, 0x3e, 0x01, 0x41]);
            }
            future
        },
    ];
    let answer = session.exchange(response(ADDRESS, "b", odd.into())).await?;
    let message = answer.error_detail.unwrap_or_default().message;
    for name in ["garbage", "cut", "other", "neither", "empty"] {
        ensure!(message.contains(name), "{name} in {message}");
    }
    ensure!(
        !message.contains(&uid(1)) && !message.contains(&uid(2)),
        "{message}"
    );
    // The same again, and twice at once.
    let twice = vec![
        of_workload(&workload(1), "1"),
        of_workload(&workload(1), "1"),
    ];
    let answer = session.exchange(response(ADDRESS, "c", twice)).await?;
    ensure!(answer.error_detail.is_none());
    listener
        .until("the good ones", |l| l.mesh().workloads.len() == 2)
        .await?;
    listener.until("report", |l| l.errors.len() == 5).await?;
    ensure!(
        listener
            .mesh()
            .rejected
            .values()
            .any(|r| r.addresses_unknown)
    );
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_larger_than_a_default_message_arrives() -> Result<()> {
    let mut server = Istiod::start().await?;
    let mut listener = Listener::start(options(server.address));
    let mut session = connect(&mut server).await?;
    let all: Vec<_> = (0..20_000)
        .map(|n| of_workload(&workload(n), "1"))
        .collect();
    let size: usize = all
        .iter()
        .filter_map(|r| r.resource.as_ref())
        .map(|any| any.value.len())
        .sum();
    // Above what gRPC takes by default, were it one resource less than it is.
    let filler = resource("filler", "1", ADDRESS, vec![0xff; 4 << 20]);
    let began = Instant::now();
    let answer = session
        .exchange(response(
            ADDRESS,
            "a",
            all.into_iter().chain([filler]).collect(),
        ))
        .await?;
    ensure!(answer.error_detail.is_some() && size > 1 << 20, "{size}");
    listener
        .until("all", |l| l.mesh().workloads.len() == 20_000)
        .await?;
    ensure!(began.elapsed() < Duration::from_secs(60));
    listener.stop().await
}
