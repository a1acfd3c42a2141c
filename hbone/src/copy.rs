//! Copies between two byte streams until both ways have ended.
//!
//! What one side does, the other side's peer must see: an end is passed on as an end, a reset as
//! a reset. A reset that arrives as a clean end would tell a client that half a reply is a whole
//! one.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use direction::{Direction, Ended};

mod direction;
mod unsent;

/// One of the two byte streams between which is copied. What is written to it must leave without
/// being flushed.
pub trait Leg: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the peer see a reset when this is dropped.
    fn abort(&mut self);

    /// Bytes that were written and that an abort would throw away.
    fn unsent(&self) -> usize;

    /// Whether a reset is reported to one call only, read or write, and a later read sees a
    /// plain end of the data. Linux does so for TCP: `sock_error()` clears what it returns.
    fn reports_reset_once(&self) -> bool;
}

impl Leg for TcpStream {
    fn abort(&mut self) {
        // A socket that is already gone cannot be set, nor needs to be.
        let _ = self.set_zero_linger();
    }

    fn unsent(&self) -> usize {
        // One that is broken delivers nothing any more.
        unsent::unacknowledged(self).unwrap_or(0)
    }

    fn reports_reset_once(&self) -> bool {
        true
    }
}

/// What was copied. The counts are true also when it ended in an error.
#[derive(Debug)]
pub struct Copied {
    /// Bytes taken from the first and written to the second.
    pub sent: u64,
    /// Bytes taken from the second and written to the first.
    pub received: u64,
    pub end: Result<(), CopyError>,
}

/// The two streams, as they were passed to [`copy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("reading from the {side} stream")]
    Read {
        side: Side,
        #[source]
        source: io::Error,
    },
    #[error("writing to the {side} stream")]
    Write {
        side: Side,
        #[source]
        source: io::Error,
    },
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

/// Copies both ways at once and then drops both streams.
///
/// - An end read from one is passed on as an end; the other way goes on.
/// - A failed read from one aborts the other, once that has taken what was read before: Envoy
///   ends a tunnel with a reset when the HTTP connection in it was closed after the last reply.
/// - A failed write to one ends that way only: what the peer sent before it closed is still
///   delivered, and how it closed decides what the other side sees.
/// - Dropping the future aborts both.
pub async fn copy<A: Leg, B: Leg>(first: A, second: B) -> Copied {
    let mut legs = Legs {
        first,
        second,
        finished: false,
    };
    let mut forth = Direction::default();
    let mut back = Direction::default();
    poll_fn(|cx| poll_both(cx, &mut legs, &mut forth, &mut back)).await;
    // A leg that did not fail gets what was written to it before it is reset, or closed with
    // bytes unread, which resets it too.
    if forth.read_failed() || (forth.is_complete() && back.write_failed()) {
        unsent::delivered(&mut legs.second).await;
    }
    if back.read_failed() || (back.is_complete() && forth.write_failed()) {
        unsent::delivered(&mut legs.first).await;
    }
    if forth.read_failed() {
        legs.second.abort();
    }
    if back.read_failed() {
        legs.first.abort();
    }
    legs.finished = true;
    Copied {
        sent: forth.bytes(),
        received: back.bytes(),
        end: outcome(forth, back),
    }
}

fn poll_both<A: Leg, B: Leg>(
    cx: &mut Context<'_>,
    legs: &mut Legs<A, B>,
    forth: &mut Direction,
    back: &mut Direction,
) -> Poll<()> {
    let Legs { first, second, .. } = legs;
    let first_was_reset = back.write_was_reset() && first.reports_reset_once();
    let forth_done = forth.poll(cx, first, second, first_was_reset).is_ready();
    let second_was_reset = forth.write_was_reset() && second.reports_reset_once();
    let back_done = back.poll(cx, second, first, second_was_reset).is_ready();
    if forth.read_failed() || back.read_failed() || (forth_done && back_done) {
        return Poll::Ready(());
    }
    Poll::Pending
}

fn outcome(forth: Direction, back: Direction) -> Result<(), CopyError> {
    let forth = error(forth, Side::First, Side::Second);
    let back = error(back, Side::Second, Side::First);
    // The failed read is the cause where there is one, the failed write its effect.
    match (forth, back) {
        (Some(read @ CopyError::Read { .. }), _) | (_, Some(read @ CopyError::Read { .. })) => {
            Err(read)
        }
        (Some(error), _) | (None, Some(error)) => Err(error),
        (None, None) => Ok(()),
    }
}

fn error(direction: Direction, from: Side, to: Side) -> Option<CopyError> {
    match direction.ended()? {
        Ended::Eof => None,
        Ended::ReadFailed(source) => Some(CopyError::Read { side: from, source }),
        Ended::WriteFailed(source) => Some(CopyError::Write { side: to, source }),
    }
}

/// Both streams. Where the copy is abandoned, neither peer may take it for a clean end.
struct Legs<A: Leg, B: Leg> {
    first: A,
    second: B,
    finished: bool,
}

impl<A: Leg, B: Leg> Drop for Legs<A, B> {
    fn drop(&mut self) {
        if !self.finished {
            self.first.abort();
            self.second.abort();
        }
    }
}

#[cfg(test)]
mod tests;
