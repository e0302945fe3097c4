//! Owns the buffer between a worker that answers fast and a client that reads slowly: memory, then a spool file, then
//! back-pressure.
//!
//! A task writes (`response_pump`), the answer's body reads; both are on one thread, so that no lock is needed. Bytes
//! beyond [`UNRESERVED`] are reserved in the budgets that all answers share. Never here: sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::budget::Reservation;

use super::buffer_pool::READ;
use super::cut_short::CutShort;
use super::reader_pace::{ReaderPace, TooSlow};
use super::spool::{SPOOL_PIECE, Space, Spool};

/// The bytes of one answer between its worker and its client; see the module.
pub(in crate::acceptor) struct Buffer {
    inner: RefCell<BufferState>,
}

struct BufferState {
    memory: VecDeque<Bytes>,
    in_memory: usize,
    most_memory: usize,
    /// Bytes of the piece that the reader was given last, which count as held until the reader asks for more.
    given: usize,
    /// The reservation for `in_memory` and `given`, beyond [`UNRESERVED`].
    room: Reservation,
    /// Whether the budget had no room for the last reservation.
    refused: bool,
    /// All bytes that the reader was ever given.
    taken: u64,
    spool: Option<Spooled>,
    end: Option<BodyEnd>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The spool file. Everything in it is newer than everything in memory: the file is written only when memory is full,
/// and memory is filled again only when the file has been read to its end.
struct Spooled {
    spool: Spool,
    read: u64,
    written: u64,
    space: Space,
}

enum BodyEnd {
    Complete(Option<HeaderMap>),
    Cut(CutShort),
}

/// Why nothing more can be put into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum NoReader {
    /// The client went away.
    Gone,
    /// The client has not read for too long.
    Stalled,
    /// The client reads too slowly for what it keeps from others.
    TooSlow,
}

impl Buffer {
    /// `room`: a reservation of nothing, in the budget that all answers share.
    pub(in crate::acceptor) fn new(most_memory: usize, room: Reservation) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(BufferState {
                memory: VecDeque::new(),
                in_memory: 0,
                most_memory,
                given: 0,
                room,
                refused: false,
                taken: 0,
                spool: None,
                end: None,
                reader_gone: false,
                reader: None,
                writer: None,
            }),
        })
    }

    /// Adds data to memory if there is room for it; else gives the data back.
    pub(in crate::acceptor) fn try_push(&self, data: Bytes) -> Result<(), Bytes> {
        let mut inner = self.inner.borrow_mut();
        if !inner.has_room() {
            return Err(data);
        }
        inner.refused = !inner.reserve(data.len());
        if inner.refused {
            return Err(data);
        }
        inner.push(data);
        Ok(())
    }

    /// Adds data to memory without a reservation, if nothing else is there; else gives the data back. The caller then
    /// has to call [`wait_read`](Self::wait_read): only a writer that waits may hold uncounted bytes.
    pub(in crate::acceptor) fn push_alone(&self, data: Bytes) -> Result<(), Bytes> {
        let mut inner = self.inner.borrow_mut();
        if !inner.is_empty() {
            return Err(data);
        }
        inner.push(data);
        Ok(())
    }

    /// Whether the budget had no room for the data that was to be added last.
    pub(in crate::acceptor) fn is_refused(&self) -> bool {
        self.inner.borrow().refused
    }

    /// The file, and the place in it for data that does not fit into memory; `None` before there is a file.
    ///
    /// The file's room becomes free again only here, when the writer is about to write: while it writes, the reader
    /// would look for the bytes in the wrong place.
    pub(in crate::acceptor) fn spool_end(&self) -> Option<(Spool, u64)> {
        let mut inner = self.inner.borrow_mut();
        let spooled = inner.spool.as_mut()?;
        if spooled.read == spooled.written {
            (spooled.read, spooled.written) = (0, 0);
        }
        Some((spooled.spool.clone(), spooled.written))
    }

    /// Puts data that does not fit into memory into this file from now on; `space`: the file's reservation on disk.
    pub(in crate::acceptor) fn attach_spool(&self, spool: Spool, space: Space) {
        self.inner.borrow_mut().spool = Some(Spooled { spool, read: 0, written: 0, space });
    }

    /// Reserves space for a file of so many bytes; false when there is none.
    pub(in crate::acceptor) fn reserve_spool(&self, length: u64) -> bool {
        self.inner.borrow_mut().spool.as_mut().is_some_and(|spooled| spooled.space.reserve(length))
    }

    /// Notes that so many more bytes are in the file.
    pub(in crate::acceptor) fn spooled(&self, bytes: u64) {
        let mut inner = self.inner.borrow_mut();
        if let Some(spooled) = &mut inner.spool {
            spooled.written += bytes;
        }
        inner.wake_reader();
    }

    /// Marks the answer as complete: the reader ends behind what is buffered.
    pub(in crate::acceptor) fn complete(&self, trailers: Option<HeaderMap>) {
        self.finish(BodyEnd::Complete(trailers));
    }

    /// Marks the answer as cut: the reader gets an error.
    pub(in crate::acceptor) fn cut(&self, why: CutShort) {
        self.finish(BodyEnd::Cut(why));
    }

    fn finish(&self, end: BodyEnd) {
        let mut inner = self.inner.borrow_mut();
        inner.end = Some(end);
        inner.wake_reader();
    }

    pub(in crate::acceptor) fn reader_gone(&self) -> bool {
        self.inner.borrow().reader_gone
    }

    /// Returns when the reader has been dropped. Cancel-safe.
    pub(in crate::acceptor) async fn wait_gone(&self) {
        poll_fn(|cx| self.poll_writer(cx, |_| false)).await
    }

    /// Drops the buffered bytes of a client that has not read enough for too long, and cuts the answer.
    pub(in crate::acceptor) fn give_up(&self, why: CutShort) {
        let mut inner = self.inner.borrow_mut();
        inner.let_go();
        inner.end = Some(BodyEnd::Cut(why));
        inner.wake_reader();
    }

    /// Waits until memory may have room again, and until the file, if it was in use, has been read to its end.
    ///
    /// # Errors
    /// [`NoReader`] when the client left, or is too slow for `pace`.
    pub(in crate::acceptor) async fn wait_room(&self, pace: ReaderPace<'_>) -> Result<(), NoReader> {
        self.wait_until(BufferState::may_have_room, pace).await
    }

    /// Waits until the client has read everything.
    ///
    /// # Errors
    /// As [`wait_room`](Self::wait_room).
    pub(in crate::acceptor) async fn wait_read(&self, pace: ReaderPace<'_>) -> Result<(), NoReader> {
        self.wait_until(BufferState::is_empty, pace).await
    }

    async fn wait_until(
        &self,
        enough: fn(&BufferState) -> bool,
        mut pace: ReaderPace<'_>,
    ) -> Result<(), NoReader> {
        poll_fn(|cx| {
            if self.poll_writer(cx, enough).is_ready() {
                return Poll::Ready(if self.reader_gone() { Err(NoReader::Gone) } else { Ok(()) });
            }
            let taken = self.inner.borrow().taken;
            pace.poll_too_slow(cx, taken).map(|why| match why {
                TooSlow::Stalled => Err(NoReader::Stalled),
                TooSlow::Pressed => Err(NoReader::TooSlow),
            })
        })
        .await
    }

    fn poll_writer(&self, cx: &mut Context<'_>, enough: fn(&BufferState) -> bool) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.reader_gone || enough(&inner) {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl BufferState {
    fn is_spooling(&self) -> bool {
        self.spool.as_ref().is_some_and(|spooled| spooled.read < spooled.written)
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() && !self.is_spooling()
    }

    /// Whether memory takes more data: never while the file holds earlier data.
    fn has_room(&self) -> bool {
        !self.is_spooling() && self.in_memory < self.most_memory
    }

    /// Whether another attempt is worth while. A reservation that was refused is tried again only when this client has
    /// read, because the buffer does not learn what others give back.
    fn may_have_room(&self) -> bool {
        if self.refused { self.is_empty() } else { self.has_room() }
    }

    fn push(&mut self, data: Bytes) {
        // Data behind other data may wait for long, so that few bytes must not hold the whole piece they were read
        // into.
        let data = if self.memory.is_empty() || data.len() >= READ / 4 {
            data
        } else {
            Bytes::copy_from_slice(&data)
        };
        self.in_memory += data.len();
        self.memory.push_back(data);
        self.wake_reader();
    }

    /// Reserves room for so many more bytes; few bytes need no reservation.
    fn reserve(&mut self, more: usize) -> bool {
        let held = self.in_memory + self.given + more;
        held <= UNRESERVED || self.room.grow_to(in_steps(held))
    }

    /// How many of the wanted bytes can be read from the file now: all, or few. Memory is empty.
    fn room_to_read(&mut self, wanted: usize) -> usize {
        self.given = if self.reserve(wanted) { wanted } else { wanted.min(UNRESERVED) };
        self.given
    }

    /// Takes the next bytes out of memory, at most so many.
    fn pop(&mut self, most: usize) -> Option<Bytes> {
        let first = self.memory.front_mut()?;
        // Without a reservation the reader gets small pieces, so that the rest stays here until the client has taken
        // them.
        let most = if self.room.amount() == 0 { most.min(UNRESERVED) } else { most };
        let data = if first.len() > most { first.split_to(most) } else { self.memory.pop_front()? };
        self.in_memory -= data.len();
        self.given = data.len();
        self.taken += data.len() as u64;
        let needed = in_steps(self.in_memory + self.given);
        if needed + STEP as u64 <= self.room.amount() {
            self.room.shrink_to(needed);
        }
        Some(data)
    }

    /// Forgets the bytes that were not read. The reader keeps the piece that it has.
    fn let_go(&mut self) {
        self.memory.clear();
        self.in_memory = 0;
        self.spool = None;
        let given = in_steps(self.given);
        self.room.shrink_to(given);
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>>>>;

/// The client's end of a [`Buffer`]. Dropping it tells the writer that nobody reads any more.
pub(in crate::acceptor) struct BufferReader {
    buffer: Rc<Buffer>,
    /// Bytes that are still to come of a body of known length.
    length: Option<u64>,
    /// The largest piece that the reader gives.
    most: usize,
    reading: Option<Reading>,
    over: bool,
}

impl BufferReader {
    pub(in crate::acceptor) fn new(buffer: Rc<Buffer>, length: Option<u64>) -> Self {
        Self { buffer, length, most: usize::MAX, reading: None, over: false }
    }

    /// Sets the largest piece that the reader gives from now on.
    pub(in crate::acceptor) fn in_pieces_of(&mut self, most: usize) {
        self.most = most;
    }

    pub(in crate::acceptor) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(in crate::acceptor) fn is_end(&self) -> bool {
        self.over || self.length == Some(0)
    }

    pub(in crate::acceptor) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(reading) = &mut self.reading {
                let read = std::task::ready!(reading.as_mut().poll(cx));
                self.reading = None;
                return Poll::Ready(Some(self.take_spooled(read)));
            }
            let mut inner = self.buffer.inner.borrow_mut();
            inner.given = 0;
            if let Some(data) = inner.pop(self.most) {
                inner.wake_writer();
                drop(inner);
                return Poll::Ready(Some(Ok(self.deliver(data))));
            }
            if let Some(spooled) = inner.spool.as_ref().filter(|spooled| spooled.read < spooled.written) {
                let (spool, at, left) = (spooled.spool.clone(), spooled.read, spooled.written - spooled.read);
                let length = inner.room_to_read(left.min(SPOOL_PIECE.min(self.most) as u64) as usize);
                drop(inner);
                self.reading = Some(Box::pin(async move { spool.read(at, length).await }));
                continue;
            }
            match inner.end.take() {
                None => {
                    inner.room.shrink_to(0);
                    inner.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Some(BodyEnd::Complete(trailers)) => {
                    drop(inner);
                    self.over = true;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Some(BodyEnd::Cut(why)) => {
                    drop(inner);
                    self.over = true;
                    return Poll::Ready(Some(Err(why)));
                }
            }
        }
    }

    fn take_spooled(&mut self, read: io::Result<Bytes>) -> Result<Frame<Bytes>, CutShort> {
        let data = read?;
        let mut inner = self.buffer.inner.borrow_mut();
        if let Some(spooled) = &mut inner.spool {
            spooled.read += data.len() as u64;
        }
        inner.taken += data.len() as u64;
        inner.wake_writer();
        drop(inner);
        Ok(self.deliver(data))
    }

    fn deliver(&mut self, data: Bytes) -> Frame<Bytes> {
        if let Some(left) = &mut self.length {
            *left = left.saturating_sub(data.len() as u64);
        }
        Frame::data(data)
    }
}

impl Drop for BufferReader {
    fn drop(&mut self) {
        let mut inner = self.buffer.inner.borrow_mut();
        inner.reader_gone = true;
        inner.given = 0;
        inner.let_go();
        inner.wake_writer();
    }
}

fn in_steps(bytes: usize) -> u64 {
    bytes.next_multiple_of(STEP) as u64
}

/// The most bytes of an answer that may lie here, or at the client's connection, without a reservation: an answer
/// always moves, and a short one costs no lock.
pub(in crate::acceptor) const UNRESERVED: usize = 32 << 10;
/// The step in which memory is reserved.
const STEP: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::budget::Budget;

    use super::*;

    fn buffer(most_memory: usize, room: &Budget) -> Rc<Buffer> {
        Buffer::new(most_memory, room.reserve(None))
    }

    fn read(reader: &mut BufferReader) -> Option<Bytes> {
        let Poll::Ready(frame) = reader.poll_frame(&mut Context::from_waker(Waker::noop())) else {
            return None;
        };
        frame.and_then(|frame| frame.unwrap().into_data().ok())
    }

    /// A piece of which only a few bytes are used.
    struct Piece {
        _held: Arc<()>,
    }

    impl AsRef<[u8]> for Piece {
        fn as_ref(&self) -> &[u8] {
            &[7; READ / 4 - 1]
        }
    }

    #[test]
    fn little_data_that_waits_does_not_hold_what_it_was_read_into() {
        let held = Arc::new(());
        let buffer = buffer(1 << 20, &Budget::new(1 << 20));
        for _ in 0..10 {
            buffer.try_push(Bytes::from_owner(Piece { _held: Arc::clone(&held) })).unwrap();
        }
        assert_eq!(Arc::strong_count(&held), 2, "all but the one that is next");
        assert_eq!(buffer.inner.borrow().in_memory, 10 * (READ / 4 - 1));
    }

    #[test]
    fn what_lies_in_memory_is_reserved_until_the_reader_comes_for_what_follows() {
        let room = Budget::new(1 << 20);
        let buffer = buffer(1 << 20, &room);
        let mut reader = BufferReader::new(Rc::clone(&buffer), None);
        buffer.try_push(Bytes::from(vec![1; UNRESERVED])).unwrap();
        assert_eq!(room.held(), 0, "little needs none");
        buffer.try_push(Bytes::from(vec![2; READ])).unwrap();
        assert_eq!(room.held(), in_steps(UNRESERVED + READ));
        assert_eq!(read(&mut reader).unwrap().len(), UNRESERVED);
        assert_eq!(read(&mut reader).unwrap().len(), READ);
        assert_eq!(room.held(), READ as u64, "it has it still");
        assert_eq!(read(&mut reader), None);
        assert_eq!(room.held(), 0);
        buffer.try_push(Bytes::from(vec![3; READ])).unwrap();
        drop(reader);
        assert_eq!(room.held(), 0, "the client has left");
    }

    #[test]
    fn without_room_one_piece_is_taken_and_given_away_bit_by_bit() {
        let room = Budget::new(READ as u64 - 1);
        let buffer = buffer(1 << 20, &room);
        let mut reader = BufferReader::new(Rc::clone(&buffer), None);
        let piece = Bytes::from(vec![1; READ]);
        let piece = buffer.try_push(piece).unwrap_err();
        assert!(buffer.is_refused());
        buffer.push_alone(piece.clone()).unwrap();
        assert!(buffer.push_alone(piece).is_err(), "one");
        for left in (0..READ / UNRESERVED).rev() {
            assert!(!buffer.inner.borrow().may_have_room());
            assert_eq!(read(&mut reader).unwrap().len(), UNRESERVED);
            assert_eq!(buffer.inner.borrow().in_memory, left * UNRESERVED);
        }
        assert!(buffer.inner.borrow().may_have_room());
        assert_eq!(room.held(), 0);
    }
}
