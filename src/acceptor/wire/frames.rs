//! Follows the frames of an HTTP/2 client by their heads alone (RFC 9113 §4.1), and finds out whether too many of them
//! carry nothing.
//!
//! Each frame without content costs points for the server's work. Requests, and what the server sends, bring points for
//! as many such frames as ordinary clients send along with them. A connection that needs more points borrows them,
//! within a limit of its own and as long as its client has a share left. Pure: bytes in, a verdict out. Never here:
//! what a frame says, whose the connection is, or ending the connection.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::Rate;

#[derive(Debug)]
pub(in crate::acceptor) struct Frames {
    /// The beginning of a head that came in pieces.
    head: [u8; HEAD],
    have: usize,
    /// The bytes to come that are no frame's head.
    skip: usize,
    /// The points that the client may spend without borrowing.
    points: u32,
    /// The points that the connection may still borrow, as of `refilled`.
    credit: u32,
    refilled: Instant,
    /// The last stream that the client opened.
    last_stream: u32,
    /// The bytes of fields of a request of which more are to come.
    fields: usize,
    /// Whether the coming frame ends those fields.
    ends_fields: bool,
}

#[derive(Clone, Copy)]
struct FrameHead {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn parse(bytes: &[u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & LAST_STREAM }
    }

    /// The points that the frame costs: [`FRAME`] when it carries nothing, a part of that when it carries a little of a
    /// body.
    fn cost(self) -> u32 {
        match self.kind {
            HEADERS => 0,
            // The end of a body; each request has only one.
            DATA if self.flags & END_STREAM != 0 => 0,
            DATA => FRAME.saturating_sub((self.length as u32).saturating_mul(BYTE)),
            _ => FRAME,
        }
    }
}

impl Frames {
    /// The frames of a connection that has just begun.
    pub(in crate::acceptor) fn new(now: Instant) -> Self {
        let (points, credit) = (FIRST, CREDIT);
        Self {
            head: [0; HEAD],
            have: 0,
            skip: PREFACE,
            points,
            credit,
            refilled: now,
            last_stream: 0,
            fields: 0,
            ends_fields: false,
        }
    }

    /// Takes the next bytes that were read; false when too many frames carry nothing. `share` takes so many frames from
    /// the client's share, and returns whether there were as many.
    pub(in crate::acceptor) fn received(
        &mut self,
        mut bytes: &[u8],
        share: impl Fn(NonZeroU32) -> bool,
    ) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let head = match bytes.first_chunk() {
                Some(whole) if self.have == 0 => {
                    bytes = &bytes[HEAD..];
                    FrameHead::parse(whole)
                }
                _ => {
                    let taken = (HEAD - self.have).min(bytes.len());
                    self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                    self.have += taken;
                    bytes = &bytes[taken..];
                    if self.have < HEAD {
                        return true;
                    }
                    self.have = 0;
                    FrameHead::parse(&self.head)
                }
            };
            self.skip = head.length;
            self.follow_fields(head);
            if head.kind == HEADERS {
                self.last_stream = self.last_stream.max(head.stream);
                self.earn(REQUEST);
            }
            if !self.pay(head.cost(), &share) {
                return false;
            }
        }
        true
    }

    /// The bytes of a request's fields that have come, or are coming, without their end.
    pub(in crate::acceptor) fn unended_fields(&self) -> usize {
        if self.ends_fields && self.skip == 0 { 0 } else { self.fields }
    }

    /// Follows a block of fields: one HEADERS frame and the CONTINUATION frames behind it (RFC 9113 §4.3).
    fn follow_fields(&mut self, head: FrameHead) {
        match head.kind {
            HEADERS => self.fields = head.length,
            CONTINUATION => self.fields = self.fields.saturating_add(head.length),
            _ => self.fields = 0,
        }
        self.ends_fields = head.flags & END_HEADERS != 0;
    }

    /// Notes that so many bytes went to the client in one write: the client may answer them.
    pub(in crate::acceptor) fn sent(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.earn(bytes.min(ANSWERS + bytes / 64));
    }

    /// The last stream that the client opened; 0: none.
    pub(in crate::acceptor) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn earn(&mut self, points: u32) {
        self.points = self.points.saturating_add(points).min(FULL);
    }

    fn pay(&mut self, cost: u32, share: &impl Fn(NonZeroU32) -> bool) -> bool {
        if self.points < cost && !self.borrow(share) {
            return false;
        }
        self.points -= cost;
        true
    }

    /// Borrows points for at least one frame; false when none may be borrowed. The clock is looked at only here.
    fn borrow(&mut self, share: &impl Fn(NonZeroU32) -> bool) -> bool {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.refilled).min(Duration::from_secs(3600));
        self.refilled = now;
        let refill = (passed.as_millis() as u64 * u64::from(PER_SECOND) / 1000) as u32;
        self.credit = self.credit.saturating_add(refill).min(CREDIT);
        let Some(frames) = NonZeroU32::new((self.credit / FRAME).min(AT_ONCE)) else { return false };
        if !share(frames) {
            return false;
        }
        self.credit -= frames.get() * FRAME;
        self.points += frames.get() * FRAME;
        true
    }
}

/// The frame with which the server ends a connection (RFC 9113 §6.8).
pub(in crate::acceptor) fn goaway(last_stream: u32, code: u32) -> [u8; HEAD + 8] {
    let mut frame = [0; HEAD + 8];
    frame[2] = 8;
    frame[3] = 7;
    frame[HEAD..HEAD + 4].copy_from_slice(&(last_stream & LAST_STREAM).to_be_bytes());
    frame[HEAD + 4..].copy_from_slice(&code.to_be_bytes());
    frame
}

/// The error code of an ordered end (RFC 9113 §7).
pub(in crate::acceptor) const NO_ERROR: u32 = 0;
/// The error code for a client that sends too much (RFC 9113 §7).
pub(in crate::acceptor) const ENHANCE_YOUR_CALM: u32 = 0xb;

const HEAD: usize = 9;
/// The length of the connection's preface, `PRI * HTTP/2.0` and what belongs to it (RFC 9113 §3.4).
const PREFACE: usize = 24;
const LAST_STREAM: u32 = (1 << 31) - 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// The points that a frame without content costs.
const FRAME: u32 = 64;
/// The points that a byte of a body saves: frames with 16 of them cost nothing.
const BYTE: u32 = 4;
/// The points of a new connection: it may send so many frames without content before it borrows, more than a connection
/// begins with.
const FIRST: u32 = 32 * FRAME;
/// The points that a connection may borrow at once beyond that.
const CREDIT: u32 = 1000 * FRAME - FIRST;
/// The points that a connection may borrow in each second.
const PER_SECOND: u32 = 100 * FRAME;
/// The frames that are borrowed at a time, because the client's share is shared with other threads.
const AT_ONCE: u32 = 64;
/// The most points that a connection may have without borrowing.
const FULL: u32 = 1000 * FRAME;
/// The frames without content that all connections of a client may borrow at once, and in each second.
pub(in crate::acceptor) const SHARE: Rate = Rate { burst: share(10_000), per_second: share(1000) };

const fn share(frames: u32) -> NonZeroU32 {
    NonZeroU32::new(frames).expect("it is a constant above 0")
}

/// The points that a request brings, for priorities, a ping, or its own end.
const REQUEST: u32 = 4 * FRAME;
/// The points that a write to the client brings, for two window updates, or a ping.
const ANSWERS: u32 = 2 * FRAME;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let mut frame = vec![0; HEAD + length];
        frame[..3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        (frame[3], frame[4]) = (kind, flags);
        frame[5..HEAD].copy_from_slice(&stream.to_be_bytes());
        frame
    }

    fn enough(_: NonZeroU32) -> bool {
        true
    }

    fn begun() -> Frames {
        let mut frames = Frames::new(Instant::now());
        assert!(frames.received(&[b'x'; PREFACE], enough));
        frames
    }

    /// How many times the frames may come in a row, at most 5,000.
    fn times(frames: &mut Frames, bytes: &[u8]) -> usize {
        (0..5000).take_while(|_| frames.received(bytes, enough)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_frames_that_carry_nothing_may_come_at_once_and_a_hundred_a_second() {
        const SETTINGS: u8 = 4;
        for (kind, length) in [(6, 8), (SETTINGS, 0), (8, 4), (2, 5), (3, 4), (9, 1), (DATA, 0), (0x42, 100)]
        {
            let mut frames = begun();
            assert!((0..1000).all(|_| frames.received(&frame(kind, 0, 1, length), enough)), "type {kind}");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(times(&mut frames, &frame(kind, 0, 1, length)), 200, "type {kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_used_up_its_share_has_what_a_connection_begins_with_and_what_requests_pay_for()
    {
        let ping = frame(6, 0, 0, 8);
        let count = |frames: &mut Frames, left: &Cell<u32>| {
            let share = |wanted: NonZeroU32| match left.get().checked_sub(wanted.get()) {
                Some(rest) => left.replace(rest) > 0,
                None => false,
            };
            (0..5000).take_while(|_| frames.received(&ping, share)).count()
        };
        let left = Cell::new(10 * AT_ONCE);
        assert_eq!(count(&mut begun(), &left), 32 + 10 * AT_ONCE as usize);
        assert_eq!(count(&mut begun(), &left), 32);
        let mut second = begun();
        assert!((0..32).all(|_| second.received(&ping, |_| false)));
        assert!(second.received(&frame(HEADERS, 5, 1, 30), |_| false));
        assert_eq!(count(&mut second, &left), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_bodies_cost_nothing_and_pay_for_what_comes_with_them() {
        for bytes in [
            frame(HEADERS, 5, 1, 30),
            frame(DATA, 0, 1, 16),
            frame(DATA, 0, 1, 16_384),
            frame(DATA, END_STREAM, 1, 0),
            [frame(HEADERS, 5, 1, 30), frame(3, 0, 1, 4), frame(2, 0, 1, 5)].concat(),
        ] {
            assert_eq!(times(&mut begun(), &bytes), 5000, "{:?}", &bytes[..HEAD]);
        }
        assert_eq!(times(&mut begun(), &frame(DATA, 0, 1, 8)), 2000, "half a frame each");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_pays_for_window_updates_and_an_answer_to_a_ping_not_for_the_ping() {
        let mut frames = begun();
        let update = frame(8, 0, 0, 4);
        let pairs = (0..5000).take_while(|_| {
            frames.sent(200);
            frames.received(&update, enough) && frames.received(&update, enough)
        });
        assert_eq!(pairs.count(), 5000);
        let mut frames = begun();
        let pings = (0..5000).take_while(|_| {
            frames.sent(17);
            frames.received(&frame(6, 0, 0, 8), enough)
        });
        assert!((1300..1400).contains(&pings.count()));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_the_same_in_whatever_pieces_they_come() {
        let mut bytes = vec![b'x'; PREFACE];
        for stream in [1, 3, 5] {
            bytes.extend(frame(HEADERS, 5, stream, 30));
            bytes.extend(frame(6, 0, 0, 8));
        }
        for size in [1, 2, 7, 9, 10, 64, 1000] {
            let mut frames = Frames::new(Instant::now());
            assert!(bytes.chunks(size).all(|piece| frames.received(piece, enough)));
            assert_eq!((frames.last_stream(), frames.skip, frames.have), (5, 0, 0), "{size}");
            assert_eq!(frames.points, FIRST + 3 * (REQUEST - FRAME), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fields_are_counted_until_their_end_has_come() {
        let mut frames = begun();
        for (bytes, unended) in [
            (frame(HEADERS, 1, 1, 1000), 1000),
            (frame(CONTINUATION, 0, 1, 500), 1500),
            (frame(CONTINUATION, END_HEADERS, 1, 700)[..HEAD + 1].to_vec(), 2200),
            (vec![0; 699], 0),
            (frame(HEADERS, 5, 3, 9000)[..HEAD].to_vec(), 9000),
            (vec![0; 9000], 0),
            (frame(DATA, 0, 3, 9000)[..HEAD].to_vec(), 0),
        ] {
            assert!(frames.received(&bytes, enough));
            assert_eq!(frames.unended_fields(), unended);
        }
    }

    #[test]
    fn a_goaway_is_written_as_the_rfc_says() {
        assert_eq!(goaway(5, ENHANCE_YOUR_CALM), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
    }
}
