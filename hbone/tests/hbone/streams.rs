//! Bytes through tunnels: order, ends, volume, and that no stream stops another.

use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::client::PoolConfig;
use waysteer_hbone::refusal::Refusal;
use waysteer_hbone::server::{Outcome, ServerConfiguration};
use waysteer_hbone::stream::HboneStream;
use waysteer_hbone::window::Windows;
use xxhash_rust::xxh3::Xxh3;

use crate::support::*;

#[tokio::test]
async fn the_client_ends_and_still_reads_the_whole_reply() {
    let (_ca, mut server, pool) = world().await;
    let message: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let stream = connect(&pool, &server, "echo:80").await.unwrap();
    assert_eq!(exchange(stream, &message).await.unwrap(), message);
    let (_, outcome) = soon(server.finished.recv()).await.unwrap();
    let Outcome::Copied(copied) = outcome else {
        panic!("{outcome:?}");
    };
    copied.end.unwrap();
    assert_eq!((copied.sent, copied.received), (300_000, 300_000));
}

#[tokio::test]
async fn the_server_may_speak_first() {
    let (_ca, server, pool) = world().await;
    let mut stream = connect(&pool, &server, "greet:25").await.unwrap();
    let mut greeting = [0; 17];
    soon(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"220 who is there?");
    assert_eq!(exchange(stream, b"me").await.unwrap(), b"221 bye, me");
}

#[tokio::test]
async fn the_server_ends_and_still_reads_what_follows() {
    let (_ca, server, pool) = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let application = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"that is all").await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tcp.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let mut stream = connect(&pool, &server, &authority).await.unwrap();
    let mut said = Vec::new();
    soon(stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"that is all");
    stream.write_all(b"but I go on").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon(application).await.unwrap(), b"but I go on");
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    let (_ca, server, pool) = world().await;
    for (status, refusal) in [
        (400, Refusal::BadAuthority),
        (401, Refusal::Denied),
        (405, Refusal::NotConnect),
        (503, Refusal::Unavailable),
        (418, Refusal::Other(http::StatusCode::IM_A_TEAPOT)),
    ] {
        let error = connect(&pool, &server, &format!("status-{status}:1"))
            .await
            .unwrap_err();
        assert_eq!(error.refusal(), Some(refusal), "{error}");
    }
    // Nobody listens on port 1.
    let error = connect(&pool, &server, "127.0.0.1:1").await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Unavailable));
    for authority in ["", "no-port", "a@b:1", "a b:1", "1.2.3.4:99999"] {
        let error = connect(&pool, &server, authority).await.unwrap_err();
        assert_eq!(error.refusal(), None, "{authority:?}: {error}");
    }
    assert_eq!(
        pool.connections(),
        1,
        "a refusal says nothing about the connection"
    );
}

const BULK: u64 = 256 * 1024 * 1024;

/// Writes `BULK` bytes that do not repeat, and returns their hash.
async fn send_bulk(mut to: impl AsyncWrite + Unpin, seed: u64) -> u64 {
    let mut hash = Xxh3::new();
    let mut block = vec![0; 128 * 1024];
    for n in 0..BULK / block.len() as u64 {
        block[..8].copy_from_slice(&(seed + n).to_be_bytes());
        hash.update(&block);
        to.write_all(&block).await.unwrap();
    }
    to.shutdown().await.unwrap();
    hash.digest()
}

async fn receive_bulk(mut from: impl AsyncRead + Unpin) -> (u64, u64) {
    let mut hash = Xxh3::new();
    let mut block = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        let length = from.read(&mut block).await.unwrap();
        if length == 0 {
            return (hash.digest(), total);
        }
        total += length as u64;
        hash.update(&block[..length]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_both_ways_at_once_arrives_unchanged() {
    let (_ca, server, pool) = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let application = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let (read, write) = tcp.split();
        tokio::join!(send_bulk(write, 1 << 40), receive_bulk(read))
    });
    let stream = connect(&pool, &server, &authority).await.unwrap();
    let (read, write) = tokio::io::split(stream);
    let sending = tokio::spawn(send_bulk(write, 0));
    let (down, down_total) = receive_bulk(read).await;
    let up = sending.await.unwrap();
    let (sent_down, (received_up, up_total)) = application.await.unwrap();
    assert_eq!((up_total, received_up), (BULK, up));
    assert_eq!((down_total, down), (BULK, sent_down));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_at_once() {
    let (_ca, server, pool) = world().await;
    let pool = Arc::new(pool);
    let key = server.key();
    // Every stream is open before any of them ends.
    let barrier = Arc::new(tokio::sync::Barrier::new(500));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..500_u32 {
        let (pool, key, barrier) = (pool.clone(), key.clone(), barrier.clone());
        clients.spawn(async move {
            let stream = pool
                .connect(&key, "echo:80", http::HeaderMap::new())
                .await
                .unwrap();
            barrier.wait().await;
            let message = n.to_be_bytes().repeat(5000);
            assert_eq!(exchange(stream, &message).await.unwrap(), message);
        });
    }
    while let Some(client) = soon(clients.join_next()).await {
        client.unwrap();
    }
    assert_eq!(pool.connections(), 5, "100 streams a connection");
}

/// Writes until it would have to wait.
async fn fill(stream: &mut HboneStream) -> usize {
    let mut total = 0;
    let mut pending_for = 0;
    std::future::poll_fn(|cx| {
        match std::pin::Pin::new(&mut *stream).poll_write(cx, &[3; 16 * 1024]) {
            Poll::Ready(result) => {
                total += result.unwrap();
                pending_for = 0;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            // The connection's task has to run before the window is really known to be used up.
            Poll::Pending if pending_for < 200 => {
                pending_for += 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(()),
        }
    })
    .await;
    total
}

#[tokio::test]
async fn streams_that_are_not_read_do_not_stop_the_others() {
    let windows = Windows {
        streams: 6,
        stream_window: 128 * 1024,
    };
    let ca = Arc::new(LocalCa::new().unwrap());
    let config = ServerConfiguration {
        windows,
        ..ServerConfiguration::default()
    };
    let server = TestServer::start_with(ca.clone(), config).await;
    let config = PoolConfig {
        windows,
        ..PoolConfig::default()
    };
    let pool = pool_with(&ca, config);
    let mut stalled = Vec::new();
    for n in 0..5 {
        // Alternately: we do not read what floods us, and the application does not read us.
        let flooded = n % 2 == 0;
        let authority = if flooded { "flood:1" } else { "deaf:1" };
        let mut stream = connect(&pool, &server, authority).await.unwrap();
        if !flooded {
            assert!(fill(&mut stream).await >= 128 * 1024);
        }
        stalled.push(stream);
    }
    // Far more than what all the windows of the connection could hide.
    let message = vec![9; 8 * 1024 * 1024];
    let stream = connect(&pool, &server, "echo:80").await.unwrap();
    assert_eq!(pool.connections(), 1, "they share one connection");
    let (mut read, mut write) = tokio::io::split(stream);
    let writer = tokio::spawn(async move {
        write.write_all(&message).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut total = 0;
    let mut block = vec![0; 64 * 1024];
    loop {
        let length = soon(read.read(&mut block)).await.unwrap();
        if length == 0 {
            break;
        }
        total += length;
    }
    soon(writer).await.unwrap();
    assert_eq!(total, 8 * 1024 * 1024);
    // What was stalled goes on where it stopped.
    let mut flood = stalled.remove(0);
    for _ in 0..100 {
        let length = soon(flood.read(&mut block)).await.unwrap();
        assert!(length > 0 && block[..length].iter().all(|byte| *byte == 7));
    }
}
