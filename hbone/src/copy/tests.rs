//! What each side sees when the other ends, resets or disappears.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;

use super::*;

/// A connected pair of sockets.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (near, far)
}

#[tokio::test]
async fn ends_are_passed_on_one_way_at_a_time() {
    let (mut client, first) = pair().await;
    let (second, mut server) = pair().await;
    let copying = tokio::spawn(copy(first, second));

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    server.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");

    server.write_all(b"an answer").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"an answer");

    let copied = copying.await.unwrap();
    copied.end.unwrap();
    assert_eq!((copied.sent, copied.received), (8, 9));
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let (client, first) = pair().await;
    let (second, mut server) = pair().await;
    let copying = tokio::spawn(copy(first, second));
    client.set_zero_linger().unwrap();
    drop(client);
    let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let end = copying.await.unwrap().end;
    assert!(
        matches!(
            end,
            Err(CopyError::Read {
                side: Side::First,
                ..
            })
        ),
        "{end:?}"
    );
}

#[tokio::test]
async fn an_abandoned_copy_resets_both() {
    let (mut client, first) = pair().await;
    let (second, mut server) = pair().await;
    let copying = tokio::spawn(copy(first, second));
    client.write_all(b"x").await.unwrap();
    server.read_u8().await.unwrap();
    copying.abort();
    for end in [&mut client, &mut server] {
        let error = end.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

/// A stream whose every call is written down beforehand.
#[derive(Default)]
struct Script {
    reads: VecDeque<io::Result<&'static [u8]>>,
    writes: VecDeque<io::ErrorKind>,
    once: bool,
    log: std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop_front() {
            Some(Ok(data)) => buf.put_slice(data),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.writes.pop_front() {
            Some(kind) => Err(kind.into()),
            None => Ok(buf.len()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.log.lock().unwrap().push("end");
        Poll::Ready(Ok(()))
    }
}

impl Leg for Script {
    fn abort(&mut self) {
        self.log.lock().unwrap().push("reset");
    }

    fn unsent(&self) -> usize {
        0
    }

    fn reports_reset_once(&self) -> bool {
        self.once
    }
}

#[tokio::test]
async fn a_reset_does_not_overtake_the_data_before_it() {
    let (mut client, first) = pair().await;
    static CHUNK: [u8; 64 * 1024] = [5; 64 * 1024];
    let mut reads: VecDeque<io::Result<&[u8]>> = (0..32).map(|_| Ok(&CHUNK[..])).collect();
    reads.push_back(Err(io::ErrorKind::ConnectionReset.into()));
    let second = Script {
        reads,
        ..Script::default()
    };
    let copying = tokio::spawn(copy(first, second));
    // Nothing is read before the reset has come and everything waits in the send queue, most of
    // it outside the window of a client that has not read yet.
    let mut total = 0;
    let mut block = vec![0; 4096];
    let error = loop {
        match client.read(&mut block).await {
            Ok(length) => total += length,
            Err(error) => break error,
        }
        assert!(total <= 32 * CHUNK.len());
        tokio::task::yield_now().await;
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(total, 32 * CHUNK.len());
    copying.await.unwrap().end.unwrap_err();
}

/// What the client sees when writing to a server that had answered fails as `kind`.
async fn after_failed_write(kind: io::ErrorKind, once: bool) -> (Vec<&'static str>, u64) {
    let client = Script {
        reads: [Ok(&b"upload"[..])].into(),
        ..Script::default()
    };
    let seen = client.log.clone();
    let server = Script {
        reads: [Ok(&b"reply"[..])].into(),
        writes: [kind].into(),
        once,
        ..Script::default()
    };
    let copied = copy(client, server).await;
    copied.end.unwrap_err();
    let seen = seen.lock().unwrap().clone();
    (seen, copied.received)
}

#[tokio::test]
async fn a_reset_that_the_write_used_up_does_not_become_an_end() {
    let reset = io::ErrorKind::ConnectionReset;
    assert_eq!(after_failed_write(reset, true).await, (vec!["reset"], 5));
}

#[tokio::test]
async fn a_reply_sent_before_the_server_stopped_reading_is_delivered_whole() {
    // TCP: the end came before the reset.
    let broken = io::ErrorKind::BrokenPipe;
    assert_eq!(after_failed_write(broken, true).await, (vec!["end"], 5));
    // HTTP/2 keeps END_STREAM and RST_STREAM apart.
    let reset = io::ErrorKind::ConnectionReset;
    assert_eq!(after_failed_write(reset, false).await, (vec!["end"], 5));
}
