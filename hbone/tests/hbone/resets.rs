//! What breaks is seen to break, on the other side of the tunnel.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use waysteer_hbone::copy::copy;
use waysteer_hbone::server::Outcome;
use waysteer_hbone::stream::HboneStream;

use crate::support::*;

/// A tunnel to a TCP application, and the application's end of it.
async fn tunnel() -> (
    TestServer,
    waysteer_hbone::client::Pool<Direct>,
    HboneStream,
    TcpStream,
) {
    let (_ca, server, pool) = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let (stream, accepted) = tokio::join!(connect(&pool, &server, &authority), listener.accept());
    (server, pool, stream.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn the_applications_reset_reaches_the_client() {
    let (mut server, _pool, mut stream, application) = tunnel().await;
    application.set_zero_linger().unwrap();
    drop(application);
    let error = soon(stream.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = soon(stream.write(&[0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (_, outcome) = soon(server.finished.recv()).await.unwrap();
    assert!(matches!(outcome, Outcome::Copied(copied) if copied.end.is_err()));
}

#[tokio::test]
async fn a_reset_after_half_a_reply_is_no_end_of_it() {
    let (_server, _pool, mut stream, mut application) = tunnel().await;
    application.write_all(b"half of").await.unwrap();
    let mut half = [0; 7];
    soon(stream.read_exact(&mut half)).await.unwrap();
    application.set_zero_linger().unwrap();
    drop(application);
    let error = soon(stream.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_does_not_overtake_the_data_before_it() {
    let (_ca, mut server, pool) = world().await;
    let mut stream = connect(&pool, &server, "break:1").await.unwrap();
    // The server has done all that it will do before we read the first byte.
    soon(server.finished.recv()).await.unwrap();
    let mut total = 0;
    let mut block = [0; 1000];
    let error = soon(async {
        loop {
            match stream.read(&mut block).await {
                Ok(length) => total += length,
                Err(error) => break error,
            }
        }
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(total, 300_000);
}

#[tokio::test]
async fn what_a_client_sent_before_it_left_arrives() {
    let (_ca, mut server, pool) = world().await;
    let stream = connect(&pool, &server, "greet:25").await.unwrap();
    let copied = soon(copy(Upstream::Leaves(300_000), stream)).await;
    copied.end.unwrap_err();
    let (_, outcome) = soon(server.finished.recv()).await.unwrap();
    let Outcome::Copied(copied) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(copied.sent, 300_000);
}

#[tokio::test]
async fn dropping_the_stream_resets_the_application() {
    let (_server, _pool, stream, mut application) = tunnel().await;
    drop(stream);
    let error = soon(application.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_clients_reset_passes_two_copies() {
    let (_server, _pool, stream, mut application) = tunnel().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let copying = tokio::spawn(copy(accepted, stream));
    client.write_all(b"hello").await.unwrap();
    soon(application.read_exact(&mut [0; 5])).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let error = soon(application.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    soon(copying).await.unwrap().end.unwrap_err();
}

#[tokio::test]
async fn a_reply_from_a_server_that_does_not_read_is_delivered() {
    let (_server, _pool, mut stream, mut application) = tunnel().await;
    application.write_all(b"413 too large").await.unwrap();
    application.shutdown().await.unwrap();
    // The tunnel's end of the connection knows of the end before the reset can come.
    let mut reply = Vec::new();
    soon(stream.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply, b"413 too large");
    drop(application);
    let error = soon(async {
        loop {
            if let Err(error) = stream.write(&[0; 1024]).await {
                break error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_gives_up_stops_the_handler() {
    let (_ca, mut server, pool) = world().await;
    let apps = server.apps.clone();
    tokio::select! {
        _ = connect(&pool, &server, "hang:1") => panic!("it never answers"),
        () = until(|| apps.hanging.load(Ordering::SeqCst) == 1) => {}
    }
    let (request, outcome) = soon(server.finished.recv()).await.unwrap();
    assert_eq!(request.authority, "hang:1");
    assert!(matches!(outcome, Outcome::Abandoned), "{outcome:?}");
}

#[tokio::test]
async fn the_death_of_the_connection_resets_every_stream() {
    let (server, _pool, mut stream, mut application) = tunnel().await;
    server.crash();
    let error = soon(stream.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = soon(application.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
