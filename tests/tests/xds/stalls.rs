//! Servers that listen, and say nothing or not yet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use waysteer::source::xds::{XdsLimits, XdsOptions};
use waysteer_tests::istiod::DEADLINE;
use waysteer_tests::istiod::resources::{ADDRESS, AUTHORIZATION, of_workload, response, workload};

use super::listener::{Listener, options, tls};
use super::tls::{Files, authority};

async fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let accepted = timeout(DEADLINE, listener.accept()).await;
    Ok(accepted.context("nobody connects")??.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_tls_is_left() -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let files = Files::new()?;
    let root = files.write("root.pem", &authority("istiod")?.cert.pem())?;
    let mut listener = Listener::start(XdsOptions {
        tls: Some(tls(root, "istiod")),
        limits: XdsLimits {
            connect: Duration::from_millis(200),
            ..XdsLimits::default()
        },
        ..options(server.local_addr()?)
    });
    // Accepted, and kept.
    let _first = accept(&server).await?;
    listener
        .until("it is told", |l| {
            l.errors
                .iter()
                .any(|(_, error)| error.contains("its TLS, does not answer"))
        })
        .await?;
    let _second = accept(&server).await?;
    let stats = listener.stats.snapshot();
    ensure!(stats.disconnections["connect"] > 0 && stats.connections == 0);
    listener.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_nothing_to_tell_is_one_all_the_same() -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let mut listener = Listener::start(XdsOptions {
        limits: XdsLimits {
            answer: Duration::from_millis(200),
            ..XdsLimits::default()
        },
        ..options(server.local_addr()?)
    });
    drop(accept(&server).await?);
    listener
        .until("it broke off", |l| !l.errors.is_empty())
        .await?;
    // The next one answers pings and no more, as gRPC servers do until they have something to say.
    let (mut respond, _serving) = loop {
        let mut connection = h2::server::handshake(accept(&server).await?).await?;
        let Some(Ok((request, respond))) = timeout(DEADLINE, connection.accept()).await? else {
            continue;
        };
        let path = request.uri().path().to_owned();
        ensure!(path.ends_with("/DeltaAggregatedResources"), "{path}");
        let serving = tokio::spawn(async move {
            let _request = request;
            while connection.accept().await.is_some() {}
        });
        break (respond, serving);
    };
    listener
        .until("all is well", |l| l.errors.is_empty())
        .await?;
    let before = listener.stats.snapshot();
    ensure!(before.connected && !listener.mesh().complete);
    // And then it has.
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(head.body(())?, false)?;
    let all = [
        response(ADDRESS, "a", vec![of_workload(&workload(1), "1")]),
        response(AUTHORIZATION, "b", Vec::new()),
    ];
    for told in all {
        stream.send_data(frame(&told.encode_to_vec())?, false)?;
    }
    listener.until("snapshot", |l| l.mesh().complete).await?;
    ensure!(listener.mesh().workloads.len() == 1);
    let after = listener.stats.snapshot();
    ensure!(after.connected && after.connections == before.connections);
    listener.stop().await
}

/// A message of gRPC, not compressed.
fn frame(message: &[u8]) -> Result<Bytes> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into()?);
    frame.put_slice(message);
    Ok(frame.freeze())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_off_is_not_stormed() -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let listener = Listener::start(options(server.local_addr()?));
    let began = Instant::now();
    // Half of 20, 40, ... 640 ms at least, and the whole of them at most, were nothing else to do.
    for _ in 0..7 {
        drop(accept(&server).await?);
    }
    let took = began.elapsed();
    ensure!(took >= Duration::from_millis(630), "{took:?}");
    listener.stop().await
}
