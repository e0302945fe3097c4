//! What lies between a worker that answers fast and a client that reads slowly: memory, then a spool file, then
//! back-pressure.
//!
//! One task writes (`drain`), the answer's body reads; both on one thread, so no lock. Never here: sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::reply_body::{CutShort, Patience};
use super::spool::{SPOOL_PIECE, Spool};
use super::stock::READ;

/// Bytes on their way. See the module.
pub(super) struct Buffer {
    inner: RefCell<Inner>,
}

struct Inner {
    memory: VecDeque<Bytes>,
    in_memory: usize,
    most_memory: usize,
    spool: Option<Spooled>,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Everything in the file is newer than everything in memory: it is written only when memory is full, and memory is
/// filled again only when the file has been read to its end.
struct Spooled {
    spool: Spool,
    read: u64,
    written: u64,
}

enum End {
    Complete(Option<HeaderMap>),
    Cut(CutShort),
}

/// Why nothing more can be put into a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReader {
    /// The client went away.
    Gone,
    /// The client has not read for too long.
    Stalled,
}

impl Buffer {
    pub(super) fn new(most_memory: usize) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(Inner {
                memory: VecDeque::new(),
                in_memory: 0,
                most_memory,
                spool: None,
                end: None,
                reader_gone: false,
                reader: None,
                writer: None,
            }),
        })
    }

    /// Adds to memory if there is room for more; else gives the data back.
    pub(super) fn try_push(&self, data: Bytes) -> Result<(), Bytes> {
        let mut inner = self.inner.borrow_mut();
        if !inner.has_room() {
            return Err(data);
        }
        // What waits behind something may wait for long: few bytes must not hold the whole piece they were read into.
        let data = if inner.memory.is_empty() || data.len() >= READ / 4 {
            data
        } else {
            Bytes::copy_from_slice(&data)
        };
        inner.in_memory += data.len();
        inner.memory.push_back(data);
        inner.wake_reader();
        Ok(())
    }

    /// The file and the place in it for what does not fit into memory; `None` before there is a file.
    ///
    /// Only here does the file's room become free again: while the writer is about to write, and never while it does,
    /// or the bytes would be looked for where they are not.
    pub(super) fn spool_end(&self) -> Option<(Spool, u64)> {
        let mut inner = self.inner.borrow_mut();
        let spooled = inner.spool.as_mut()?;
        if spooled.read == spooled.written {
            (spooled.read, spooled.written) = (0, 0);
        }
        Some((spooled.spool.clone(), spooled.written))
    }

    pub(super) fn attach_spool(&self, spool: Spool) {
        self.inner.borrow_mut().spool = Some(Spooled { spool, read: 0, written: 0 });
    }

    /// So many bytes more are in the file.
    pub(super) fn spooled(&self, bytes: u64) {
        let mut inner = self.inner.borrow_mut();
        if let Some(spooled) = &mut inner.spool {
            spooled.written += bytes;
        }
        inner.wake_reader();
    }

    /// That was all.
    pub(super) fn complete(&self, trailers: Option<HeaderMap>) {
        self.finish(End::Complete(trailers));
    }

    /// The answer stops here.
    pub(super) fn cut(&self, why: CutShort) {
        self.finish(End::Cut(why));
    }

    fn finish(&self, end: End) {
        let mut inner = self.inner.borrow_mut();
        inner.end = Some(end);
        inner.wake_reader();
    }

    pub(super) fn reader_gone(&self) -> bool {
        self.inner.borrow().reader_gone
    }

    /// Returns once the reader has left. Cancel-safe.
    pub(super) async fn wait_gone(&self) {
        poll_fn(|cx| self.poll_writer(cx, |_| false)).await
    }

    /// The client has not read for too long: what it would get is let go.
    pub(super) fn give_up(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.memory.clear();
        inner.in_memory = 0;
        inner.spool = None;
        inner.end = Some(End::Cut(CutShort::ClientStalled));
        inner.wake_reader();
    }

    /// Waits until memory has room again, and the file, if it was in use, has been read to its end.
    ///
    /// # Errors
    /// [`NoReader`] when the client left, or read nothing for `limit`.
    pub(super) async fn wait_room(&self, limit: Duration) -> Result<(), NoReader> {
        self.wait_until(Inner::has_room, limit).await
    }

    /// Waits until the client has taken everything in.
    ///
    /// # Errors
    /// As [`wait_room`](Self::wait_room).
    pub(super) async fn wait_read(&self, limit: Duration) -> Result<(), NoReader> {
        self.wait_until(Inner::is_empty, limit).await
    }

    async fn wait_until(&self, enough: fn(&Inner) -> bool, limit: Duration) -> Result<(), NoReader> {
        let mut patience = Patience::new(limit);
        let mut seen = self.progress();
        poll_fn(|cx| {
            if self.poll_writer(cx, enough).is_ready() {
                return Poll::Ready(if self.reader_gone() { Err(NoReader::Gone) } else { Ok(()) });
            }
            let now = self.progress();
            if std::mem::replace(&mut seen, now) != now {
                patience.renew();
            }
            patience.poll_over(cx).map(|()| Err(NoReader::Stalled))
        })
        .await
    }

    fn progress(&self) -> (usize, u64) {
        let inner = self.inner.borrow();
        (inner.in_memory, inner.spool.as_ref().map_or(0, |spooled| spooled.read))
    }

    fn poll_writer(&self, cx: &mut Context<'_>, enough: fn(&Inner) -> bool) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.reader_gone || enough(&inner) {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Inner {
    fn is_spooling(&self) -> bool {
        self.spool.as_ref().is_some_and(|spooled| spooled.read < spooled.written)
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() && !self.is_spooling()
    }

    /// Whether memory takes more: never while the file holds what comes before.
    fn has_room(&self) -> bool {
        !self.is_spooling() && self.in_memory < self.most_memory
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
pub(super) struct Reader {
    buffer: Rc<Buffer>,
    /// Bytes left of a body of known length.
    length: Option<u64>,
    reading: Option<Reading>,
    over: bool,
}

impl Reader {
    pub(super) fn new(buffer: Rc<Buffer>, length: Option<u64>) -> Self {
        Self { buffer, length, reading: None, over: false }
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(super) fn is_end(&self) -> bool {
        self.over || self.length == Some(0)
    }

    pub(super) fn poll_frame(
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
            if let Some(data) = inner.memory.pop_front() {
                inner.in_memory -= data.len();
                inner.wake_writer();
                drop(inner);
                return Poll::Ready(Some(Ok(self.deliver(data))));
            }
            if let Some(spooled) = inner.spool.as_ref().filter(|spooled| spooled.read < spooled.written) {
                let length = (spooled.written - spooled.read).min(SPOOL_PIECE as u64) as usize;
                let (spool, at) = (spooled.spool.clone(), spooled.read);
                drop(inner);
                self.reading = Some(Box::pin(async move { spool.read(at, length).await }));
                continue;
            }
            match inner.end.take() {
                None => {
                    inner.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Some(End::Complete(trailers)) => {
                    drop(inner);
                    self.over = true;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Some(End::Cut(why)) => {
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

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.buffer.inner.borrow_mut();
        inner.reader_gone = true;
        inner.memory.clear();
        inner.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A piece of which few bytes are used.
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
        let buffer = Buffer::new(1 << 20);
        for _ in 0..10 {
            buffer.try_push(Bytes::from_owner(Piece { _held: Arc::clone(&held) })).unwrap();
        }
        assert_eq!(Arc::strong_count(&held), 2, "all but the one that is next");
        assert_eq!(buffer.inner.borrow().in_memory, 10 * (READ / 4 - 1));
    }
}
