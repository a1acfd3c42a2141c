//! Who dials: what is done over a way, and how long it takes. All on the calling thread and on
//! those that it starts.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use waysteer_tests::interrupt;
use waysteer_tests::statistics::at_rate;

use crate::server::{ECHO, IDLE, MESSAGE, SINK};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
const OVERSLEPT: Duration = Duration::from_micros(150);
const BLOCK: usize = 256 * 1024;
const STREAMS: usize = 16;

/// Seconds each, on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connections {
    /// Until `connect()` returns.
    pub(crate) connect: f64,
    /// Until the answer to a request is there and the connection is closed.
    pub(crate) whole: f64,
}

/// What a stream has carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Bytes a second.
    pub(crate) rate: f64,
}

/// Connection, request, answer, close: so many, one after the other.
pub(crate) fn connections(to: SocketAddr, count: u32) -> Result<Connections> {
    let mut connecting = Duration::ZERO;
    let start = Instant::now();
    for _ in 0..count {
        let before = Instant::now();
        let mut stream = TcpStream::connect(to).with_context(|| format!("dialling {to}"))?;
        connecting += before.elapsed();
        exchange(&mut stream, ECHO)?;
    }
    let per = |time: Duration| time.as_secs_f64() / f64::from(count);
    Ok(Connections {
        connect: per(connecting),
        whole: per(start.elapsed()),
    })
}

/// Requests and answers on one connection; seconds each.
pub(crate) fn requests(to: SocketAddr, count: u32) -> Result<f64> {
    let mut stream = dial(to)?;
    exchange(&mut stream, ECHO)?;
    let start = Instant::now();
    for _ in 0..count {
        exchange(&mut stream, ECHO)?;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(count))
}

/// One stream for some time.
pub(crate) fn bulk(to: SocketAddr, time: Duration) -> Result<Sent> {
    let mut stream = dial(to)?;
    let mut block = vec![0; BLOCK];
    block[..MESSAGE].fill(SINK);
    stream.write_all(&block[..MESSAGE])?;
    let mut bytes = 0_u64;
    let start = Instant::now();
    while start.elapsed() < time {
        stream.write_all(&block)?;
        bytes += block.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream
        .read_exact(&mut arrived)
        .context("the number of bytes")?;
    ensure!(u64::from_be_bytes(arrived) == bytes, "bytes were lost");
    Ok(Sent {
        bytes,
        rate: bytes as f64 / start.elapsed().as_secs_f64(),
    })
}

/// Several streams at once; bytes a second of all together.
pub(crate) fn bulk_of_many(to: SocketAddr, time: Duration) -> Result<f64> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..STREAMS)
            .map(|_| scope.spawn(move || bulk(to, time)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let joined = thread.join();
            let sent = joined.map_err(|_| anyhow!("a stream's thread panicked"))?;
            Ok(sent?.rate)
        });
        joined.sum()
    })
}

/// Connection, request and answer at a fixed rate: how long each took since it was due, in order.
pub(crate) fn at_fixed_rate(to: SocketAddr, every: Duration, count: u32) -> Result<Vec<Duration>> {
    let start = Instant::now();
    let now = || start.elapsed();
    let wait = |until: Duration| {
        // Sleeping ends late by more than what is measured.
        thread::sleep(until.saturating_sub(now() + OVERSLEPT));
        while now() < until {
            std::hint::spin_loop();
        }
    };
    at_rate(every, count, now, wait, || {
        let mut stream = dial(to)?;
        exchange(&mut stream, ECHO)
    })
}

/// Opens connections that stay, each answered once.
pub(crate) fn idle(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let open = |_| {
        interrupt::check()?;
        let mut stream = dial(to)?;
        exchange(&mut stream, IDLE)?;
        Ok(stream)
    };
    (0..count).map(open).collect()
}

fn dial(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("dialling {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, kind: u8) -> Result<()> {
    let mut message = [kind; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message).context("an answer")?;
    ensure!(message[0] == kind, "another answer than was sent");
    Ok(())
}
