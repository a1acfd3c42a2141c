//! Which streams share a connection, and how connections end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use h2::Reason;
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::CertSource;
use waysteer_hbone::client::{ConnectError, DialError, Pool, PoolConfig, PoolKey};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::server::ServerConfiguration;
use waysteer_hbone::tls::server_config;
use waysteer_hbone::window::Windows;

use crate::support::*;

#[tokio::test]
async fn first_requests_wait_for_one_connection() {
    let (_ca, server, pool) = world().await;
    let streams: Vec<_> = (0..50)
        .map(|_| connect(&pool, &server, "echo:80"))
        .collect();
    let streams = join_all(streams).await;
    assert!(streams.iter().all(Result::is_ok));
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn different_keys_do_not_share() {
    let (_ca, server, pool) = world().await;
    let base = server.key();
    let mut scope = base.clone();
    scope.scope = 7;
    let mut local = base.clone();
    local.local = SpiffeId::new("cluster.local", "demo", "another").unwrap();
    let mut expected = base.clone();
    expected.expected = Arc::new([server_id(), client_id()].into());
    let mut streams = Vec::new();
    for key in [&base, &scope, &local, &expected, &base, &scope] {
        streams.push(
            pool.connect(key, "echo:80", HeaderMap::new())
                .await
                .unwrap(),
        );
    }
    assert_eq!(pool.connections(), 4);
}

#[tokio::test]
async fn the_peers_limit_of_streams_is_kept() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let config = ServerConfiguration {
        windows: Windows {
            streams: 3,
            ..Windows::default()
        },
        ..ServerConfiguration::default()
    };
    let server = TestServer::start_with(ca.clone(), config).await;
    let pool = pool(&ca);
    let streams: Vec<_> = (0..10)
        .map(|_| connect(&pool, &server, "echo:80"))
        .collect();
    for stream in join_all(streams).await {
        assert_eq!(exchange(stream.unwrap(), b"hi").await.unwrap(), b"hi");
    }
    assert_eq!(pool.connections(), 4);
}

#[tokio::test]
async fn go_away_loses_no_request_and_cuts_no_stream() {
    let (_ca, server, pool) = world().await;
    let mut kept = connect(&pool, &server, "echo:80").await.unwrap();
    for round in 0..100 {
        if round % 10 == 5 {
            server.go_away();
        }
        let stream = connect(&pool, &server, "echo:80").await.unwrap();
        assert_eq!(exchange(stream, b"hi").await.unwrap(), b"hi");
    }
    assert!(server.accepted.load(Ordering::SeqCst) > 1);
    kept.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    soon(kept.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"still here");
    kept.shutdown().await.unwrap();
    assert_eq!(soon(kept.read(&mut echoed)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let config = ServerConfiguration {
        drain_timeout: Duration::from_millis(50),
        ..ServerConfiguration::default()
    };
    let mut server = TestServer::start_with(ca.clone(), config).await;
    let pool = pool(&ca);
    let mut stream = connect(&pool, &server, "echo:80").await.unwrap();
    server.go_away();
    let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    soon(server.served.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    let (_ca, server, pool) = world().await;
    let mut stream = connect(&pool, &server, "echo:80").await.unwrap();
    server.crash();
    soon(stream.read(&mut [0; 1])).await.unwrap_err();
    let stream = connect(&pool, &server, "echo:80").await.unwrap();
    assert_eq!(exchange(stream, b"hi").await.unwrap(), b"hi");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let (ca, mut server, _) = world().await;
    let config = PoolConfig {
        idle_timeout: Duration::from_millis(30),
        ..PoolConfig::default()
    };
    let pool = pool_with(&ca, config);
    let mut stream = connect(&pool, &server, "echo:80").await.unwrap();
    let none = tokio::time::timeout(Duration::from_millis(150), server.served.recv()).await;
    assert!(none.is_err(), "closed although a stream was open");
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    assert_eq!(exchange(stream, b"").await.unwrap(), b"");
    soon(server.served.recv()).await.unwrap().unwrap();
    until(|| pool.connections() == 0).await;
}

#[tokio::test]
async fn the_pool_is_bounded_and_makes_room_by_closing_what_is_idle() {
    let (ca, server, _) = world().await;
    let config = PoolConfig {
        max_connections: 1,
        ..PoolConfig::default()
    };
    let pool = pool_with(&ca, config);
    let other = PoolKey {
        scope: 1,
        ..server.key()
    };
    let held = connect(&pool, &server, "echo:80").await.unwrap();
    let error = pool
        .connect(&other, "echo:80", HeaderMap::new())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Exhausted { max: 1 }),
        "{error}"
    );
    exchange(held, b"").await.unwrap();
    soon(pool.connect(&other, "echo:80", HeaderMap::new()))
        .await
        .unwrap();
}

#[tokio::test]
async fn waiting_requests_share_the_failure() {
    let (_ca, server, pool) = world().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = PoolKey {
        next_hop: dead.local_addr().unwrap(),
        ..server.key()
    };
    drop(dead);
    let attempts: Vec<_> = (0..20)
        .map(|_| pool.connect(&key, "echo:80", HeaderMap::new()))
        .collect();
    let mut first: Option<Arc<DialError>> = None;
    for result in join_all(attempts).await {
        let Err(ConnectError::Dial(error)) = result else {
            panic!("{result:?}");
        };
        assert!(matches!(*error, DialError::Tcp { .. }), "{error}");
        assert!(Arc::ptr_eq(
            first.get_or_insert_with(|| error.clone()),
            &error
        ));
    }
    assert_eq!(pool.connections(), 0);
    // And the failure is not remembered for those who come later.
    let later = soon(pool.connect(&key, "echo:80", HeaderMap::new())).await;
    assert!(
        matches!(later, Err(ConnectError::Dial(error)) if !Arc::ptr_eq(&error, &first.unwrap()))
    );
}

#[tokio::test]
async fn renewed_credentials_are_used_for_new_streams() {
    let ca = LocalCa::new()
        .unwrap()
        .with_leaf_lifetime(Duration::from_millis(1500));
    let ca = Arc::new(ca);
    let server = TestServer::start(ca.clone()).await;
    let pool = pool(&ca);
    let mut old = connect(&pool, &server, "echo:80").await.unwrap();
    let before = ca.certificate(&client_id()).unwrap();
    until(|| !Arc::ptr_eq(&before, &ca.certificate(&client_id()).unwrap())).await;
    let stream = connect(&pool, &server, "echo:80").await.unwrap();
    assert_eq!(exchange(stream, b"hi").await.unwrap(), b"hi");
    assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
    old.write_all(b"y").await.unwrap();
    assert_eq!(soon(old.read_u8()).await.unwrap(), b'y');
}

#[tokio::test]
async fn a_pool_that_is_shut_down_waits_for_its_streams_but_not_for_ever() {
    let (_ca, server, pool) = world().await;
    let mut stream = connect(&pool, &server, "echo:80").await.unwrap();
    soon(pool.shutdown(Duration::from_millis(30))).await;
    soon(stream.read(&mut [0; 1])).await.unwrap_err();
    let error = connect(&pool, &server, "echo:80").await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed), "{error}");
}

type Http2 = h2::server::Connection<TlsStream<TcpStream>, bytes::Bytes>;

/// A server whose HTTP/2 is in the test's hands.
async fn bare_server(ca: &Arc<LocalCa>) -> (TcpListener, TlsAcceptor, PoolKey) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = server_config(&ca.certificate(&server_id()).unwrap()).unwrap();
    let key = PoolKey {
        local: client_id(),
        next_hop: listener.local_addr().unwrap(),
        expected: Arc::new([server_id()].into()),
        scope: 0,
    };
    (listener, TlsAcceptor::from(Arc::new(tls)), key)
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> Http2 {
    let (tcp, _) = listener.accept().await.unwrap();
    let tls = acceptor.accept(tcp).await.unwrap();
    h2::server::handshake(tls).await.unwrap()
}

#[tokio::test]
async fn a_refused_stream_is_tried_once_more_elsewhere() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let (listener, acceptor, key) = bare_server(&ca).await;
    let pool = pool(&ca);
    let serving = tokio::spawn(async move {
        let mut first = accept(&listener, &acceptor).await;
        let (_, mut respond) = first.accept().await.unwrap().unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        let first = tokio::spawn(async move { while first.accept().await.is_some() {} });
        let mut second = accept(&listener, &acceptor).await;
        let (_, mut respond) = second.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        while second.accept().await.is_some() {}
        first.await.unwrap();
    });
    let mut stream = soon(pool.connect(&key, "echo:80", HeaderMap::new()))
        .await
        .unwrap();
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0);
    drop((stream, pool));
    soon(serving).await.unwrap();
}

/// The reset with which Envoy ends a tunnel, read as it is and read as an end.
#[tokio::test]
async fn a_waypoints_reset_can_be_taken_for_the_end() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let (listener, acceptor, key) = bare_server(&ca).await;
    let pool = pool(&ca);
    let serving = tokio::spawn(async move {
        let mut http2 = accept(&listener, &acceptor).await;
        while let Some(request) = http2.accept().await {
            let (_, mut respond) = request.unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data("reply".into(), false).unwrap();
            // Once the reply is out: an explicit reset throws away what is queued.
            let _ = tokio::time::timeout(Duration::from_millis(20), http2.accept()).await;
            body.send_reset(Reason::CONNECT_ERROR);
        }
    });
    let mut reply = String::new();
    let mut strict = soon(pool.connect(&key, "a:80", HeaderMap::new()))
        .await
        .unwrap();
    let error = soon(strict.read_to_string(&mut reply)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut lenient = soon(pool.connect(&key, "a:80", HeaderMap::new()))
        .await
        .unwrap();
    lenient.take_connect_error_for_end();
    reply.clear();
    soon(lenient.read_to_string(&mut reply)).await.unwrap();
    assert_eq!(reply, "reply");
    drop((strict, lenient, pool));
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let (listener, acceptor, key) = bare_server(&ca).await;
    let pool = pool(&ca);
    let serving = tokio::spawn(async move {
        let mut first = accept(&listener, &acceptor).await;
        first.accept().await.unwrap().unwrap();
        drop(first);
        listener
    });
    let error = soon(pool.connect(&key, "echo:80", HeaderMap::new()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Http2 { .. }), "{error:?}");
    let listener = soon(serving).await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(second.is_err(), "a second connection was made");
}

#[tokio::test]
async fn a_peer_that_went_silent_is_given_up() {
    let ca = Arc::new(LocalCa::new().unwrap());
    let (listener, acceptor, key) = bare_server(&ca).await;
    let config = PoolConfig {
        keepalive: Duration::from_millis(50),
        ..PoolConfig::default()
    };
    let pool: Pool<Direct> = pool_with(&ca, config);
    let serving = tokio::spawn(async move {
        let mut silent = accept(&listener, &acceptor).await;
        let (_, mut respond) = silent.accept().await.unwrap().unwrap();
        let body = respond.send_response(Response::new(()), false).unwrap();
        // Until the answer is out.
        let _ = tokio::time::timeout(Duration::from_millis(20), silent.accept()).await;
        (silent, body)
    });
    let mut stream = soon(pool.connect(&key, "echo:80", HeaderMap::new()))
        .await
        .unwrap();
    let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(soon(serving).await.unwrap());
    drop(stream);
    until(|| pool.connections() == 0).await;
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *result = Some(output);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
