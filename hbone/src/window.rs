//! Flow control: how much a peer may send before it is read, and why no stream can stop another.
//!
//! HTTP/2 has a window per stream and one per connection; a byte uses up both until it is
//! released. We release a byte when the reader has taken it, for both windows at once (`h2`
//! releases them together). So a stream that is never read holds up to one stream window of the
//! connection window, for as long as it lives. If a few of those could use up the connection
//! window, every other stream of the connection would stop: the classic deadlock of a tunnel,
//! where stream A waits for B's reader and B's reader waits for something that comes over A.
//!
//! The way out is arithmetic. With at most `streams` live streams on a connection,
//!
//! ```text
//! connection window = streams × stream window
//! ```
//!
//! and what all streams but one can hold is `(streams - 1) × stream window`, so the one always
//! finds at least a full stream window left. "Live" means what holds received bytes, not what
//! HTTP/2 calls open: a stream that both ends closed still holds its unread bytes. So both the
//! pool and the server count the [`HboneStream`](crate::stream::HboneStream)s that exist, and
//! neither relies on SETTINGS_MAX_CONCURRENT_STREAMS alone. The price is memory: a peer can make
//! us hold one connection window for each connection, in the worst case that no stream is read.
//!
//! Towards a peer whose connection window is smaller, nothing can be proved from our side.
//!
//! PINGs are sent by clients only. `h2` does not read while a PONG waits for room in the socket;
//! if both ends pinged under full load in both directions, each could wait for the other to read.

use std::time::Duration;

/// The limits of a connection; both windows follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Streams that may be live on one connection.
    pub streams: u16,
    /// What may be received and not yet read on one stream, in bytes.
    pub stream_window: u32,
}

/// The largest window that HTTP/2 can express.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Larger than the default 16 KiB, to halve the bookkeeping of bulk transfers, and small enough
/// that a frame does not make the other streams wait.
const MAX_FRAME: u32 = 64 * 1024;
/// What a stream may have queued and not yet handed to TLS, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// `h2` charges 256 minus its length for every unread DATA frame shorter than that, and ends the
/// connection when the budget is spent. This allows a whole stream window of one-byte frames, so
/// that one reader that does not read cannot end the connection for the others.
const SMALL_FRAME_BUDGET: usize = 256 * 1024 * 1024;
/// Streams that we reset are remembered, so that what is still on its way to them is ignored
/// instead of being counted as the peer's error.
const REMEMBERED_RESETS: usize = 1024;
const REMEMBER_RESET: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: u32 = 64 * 1024;

impl Default for Windows {
    fn default() -> Self {
        Self {
            streams: 100,
            stream_window: 1024 * 1024,
        }
    }
}

impl Windows {
    fn stream(self) -> u32 {
        // A window below the protocol's default would be exceeded by what the peer may send
        // before it has seen our settings.
        let most = MAX_WINDOW / u32::from(self.streams.max(1));
        self.stream_window.clamp(65_535, most.max(65_535))
    }

    fn connection(self) -> u32 {
        self.stream()
            .saturating_mul(u32::from(self.streams.max(1)))
            .min(MAX_WINDOW)
    }

    pub(crate) fn client(self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(usize::from(self.streams))
            .initial_window_size(self.stream())
            .initial_connection_window_size(self.connection())
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAME_BUDGET)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(REMEMBER_RESET)
            .max_header_list_size(MAX_HEADER_BYTES);
        builder
    }

    pub(crate) fn server(self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(u32::from(self.streams))
            .initial_window_size(self.stream())
            .initial_connection_window_size(self.connection())
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAME_BUDGET)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .max_pending_accept_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(REMEMBER_RESET)
            .max_header_list_size(MAX_HEADER_BYTES);
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_always_finds_a_whole_window_left() {
        for streams in [0, 1, 2, 100, 1000, 30_000] {
            for stream_window in [0, 1, 65_535, 1 << 20, u32::MAX] {
                let windows = Windows {
                    streams,
                    stream_window,
                };
                let others = u64::from(windows.stream()) * u64::from(streams.max(1) - 1);
                assert!(
                    u64::from(windows.connection()) >= others + u64::from(windows.stream()),
                    "{windows:?}"
                );
            }
        }
    }
}
