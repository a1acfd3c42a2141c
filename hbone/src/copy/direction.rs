//! One way of a copy.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks copied before other tasks get their turn: a stream that is always ready must not keep
/// its thread.
const TURN: usize = 16;

thread_local! {
    /// Read buffer of all copies on this thread. A copy has bytes in hand only while its writer
    /// is blocked, so thousands of idle connections share one buffer instead of owning two each.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How one way ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The reader's end was passed on to the writer.
    Eof,
    ReadFailed(io::Error),
    WriteFailed(io::Error),
}

#[derive(Debug, Default)]
pub(super) struct Direction {
    bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Bytes that were read and that the writer has not yet taken, from the given position on.
    Copying(Vec<u8>, usize),
    ShuttingDown,
    Done(Ended),
}

impl Default for State {
    fn default() -> Self {
        Self::Copying(Vec::new(), 0)
    }
}

impl Direction {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn ended(self) -> Option<Ended> {
        match self.state {
            State::Done(ended) => Some(ended),
            State::Copying(..) | State::ShuttingDown => None,
        }
    }

    pub(super) fn read_failed(&self) -> bool {
        matches!(self.state, State::Done(Ended::ReadFailed(_)))
    }

    pub(super) fn write_failed(&self) -> bool {
        matches!(self.state, State::Done(Ended::WriteFailed(_)))
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Done(Ended::Eof))
    }

    /// Whether writing found the connection reset, without an end of the data before it. (Where
    /// the end came first, Linux reports a broken pipe: `tcp_reset()` in CLOSE_WAIT.)
    pub(super) fn write_was_reset(&self) -> bool {
        matches!(&self.state, State::Done(Ended::WriteFailed(error))
            if error.kind() == io::ErrorKind::ConnectionReset)
    }

    /// Copies until there is nothing to do. `reset` says that the reader is known to have been
    /// reset, so that the end of its data is no clean end.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        reset: bool,
    ) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            match &mut self.state {
                State::Done(_) => return Poll::Ready(()),
                State::ShuttingDown => {
                    let result = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    self.state = State::Done(match result {
                        Ok(()) => Ended::Eof,
                        Err(error) => Ended::WriteFailed(error),
                    });
                }
                State::Copying(pending, from) if *from < pending.len() => {
                    let rest = pending.get(*from..).unwrap_or_default();
                    match ready!(write(cx, writer, rest)) {
                        Ok(written) => {
                            self.bytes += written as u64;
                            *from += written;
                            if *from >= pending.len() {
                                self.state = State::default();
                            }
                        }
                        Err(error) => self.state = State::Done(Ended::WriteFailed(error)),
                    }
                }
                State::Copying(..) => ready!(self.poll_chunk(cx, reader, writer, reset)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads into the thread's buffer, writes from it, and keeps what the writer did not take.
    fn poll_chunk<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        reset: bool,
    ) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = Scratch::take();
        let mut buf = ReadBuf::new(&mut scratch.0);
        match ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf)) {
            Err(error) => self.state = State::Done(Ended::ReadFailed(error)),
            Ok(()) if buf.filled().is_empty() && reset => {
                let error = io::ErrorKind::ConnectionReset.into();
                self.state = State::Done(Ended::ReadFailed(error));
            }
            Ok(()) if buf.filled().is_empty() => self.state = State::ShuttingDown,
            Ok(()) => {
                let filled = buf.filled();
                match write(cx, writer, filled) {
                    Poll::Ready(Ok(written)) => {
                        self.bytes += written as u64;
                        let rest = filled.get(written..).unwrap_or_default();
                        self.state = State::Copying(rest.to_vec(), 0);
                    }
                    Poll::Ready(Err(error)) => self.state = State::Done(Ended::WriteFailed(error)),
                    Poll::Pending => self.state = State::Copying(filled.to_vec(), 0),
                }
            }
        }
        Poll::Ready(())
    }
}

fn write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    writer: &mut W,
    data: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(writer).poll_write(cx, data)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}

/// The thread's buffer while it is in use; it goes back when dropped.
struct Scratch(Box<[u8]>);

impl Scratch {
    fn take() -> Self {
        Self(SCRATCH.take().unwrap_or_else(|| vec![0; CHUNK].into()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(Some(std::mem::take(&mut self.0)));
    }
}
