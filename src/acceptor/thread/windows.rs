//! The flow-control windows of HTTP/2: how much of bodies may lie unread on a connection.
//!
//! Never here: reading bodies.

/// How much of request bodies may lie unread on one connection (RFC 9113 §5.2).
///
/// The connection's window is the sum of its streams': a body that nobody reads, because its request waits for a
/// worker or its worker is slow, never keeps another stream's body from coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) struct Windows {
    pub(in crate::acceptor) stream: u32,
    pub(in crate::acceptor) connection: u32,
}

impl Windows {
    /// The windows of a connection of at most so many streams at a time.
    pub(in crate::acceptor) fn of(streams: u32) -> Self {
        let streams = streams.max(1);
        let stream = (LARGEST_WINDOW / streams).clamp(LEAST_UNREAD, MOST_UNREAD);
        Self { stream, connection: stream.saturating_mul(streams).min(LARGEST_WINDOW) }
    }
}

/// The bytes of one stream that every client may send before it has read the server's settings (RFC 9113 §6.9.2).
pub(in crate::acceptor) const LEAST_UNREAD: u32 = 64 << 10;

/// The bytes of one stream that may come unread: enough for 50 Mbit/s where a round trip takes 40 ms.
pub(in crate::acceptor) const MOST_UNREAD: u32 = 256 << 10;

/// The largest window (RFC 9113 §6.9.1).
pub(in crate::acceptor) const LARGEST_WINDOW: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_room_for_all_its_streams() {
        for streams in [1, 2, 64, 100, 8191, 8192, 10_000, 32_767] {
            let Windows { stream, connection } = Windows::of(streams);
            assert_eq!(u64::from(connection), u64::from(stream) * u64::from(streams), "{streams}");
            assert!((LEAST_UNREAD..=MOST_UNREAD).contains(&stream), "{streams}");
        }
        assert_eq!(Windows::of(100), Windows { stream: 256 << 10, connection: 25_600 << 10 });
        assert_eq!(Windows::of(u32::MAX), Windows { stream: LEAST_UNREAD, connection: LARGEST_WINDOW });
        assert_eq!(Windows::of(0), Windows::of(1));
    }
}
