//! How much of bodies may lie unread on an HTTP/2 connection.
//!
//! Never here: reading them.

/// How much of request bodies may lie here unread (RFC 9113 §5.2).
///
/// The connection's window is the sum of its streams': a body that nobody reads, because its request waits for a
/// worker or its worker is slow, never keeps another stream's body from coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) stream: u32,
    pub(super) connection: u32,
}

impl Windows {
    /// For a connection of at most so many streams at a time.
    pub(super) fn of(streams: u32) -> Self {
        let streams = streams.max(1);
        let stream = (LARGEST_WINDOW / streams).clamp(LEAST_UNREAD, MOST_UNREAD);
        Self { stream, connection: stream.saturating_mul(streams).min(LARGEST_WINDOW) }
    }
}

/// Bytes of one stream that every client may send before it has read our settings (RFC 9113 §6.9.2).
pub(super) const LEAST_UNREAD: u32 = 64 << 10;

/// Bytes of one stream that may come unread: enough for 50 Mbit/s where a round trip takes 40 ms.
pub(super) const MOST_UNREAD: u32 = 256 << 10;

/// RFC 9113 §6.9.1.
pub(super) const LARGEST_WINDOW: u32 = (1 << 31) - 1;
