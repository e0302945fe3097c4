//! Collects the bytes that the requests of one thread send to workers, and writes them in a row: when all tasks that
//! were ready have run, or later, for as long as more comes (`batch_window`).
//!
//! A request that is sent wakes its worker. If other requests of the same moment were read and parsed in between, the
//! worker's core would fall asleep each time, and waking a sleeping core costs more than all the rest of a request. A
//! single task sends for all, because a request that sent by itself would have to be woken for it. Never here: what is
//! sent.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::acceptor::worker_socket::News;
use crate::acceptor::worker_stream::WorkerStream;

use super::batch_window::BatchWindow;

/// The write batch of a thread. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(in crate::acceptor) struct WriteBatch(Rc<RefCell<PendingWrites>>);

#[derive(Default)]
struct PendingWrites {
    writes: Vec<Rc<BatchedWrite>>,
    /// The waker of [`WriteBatch::run`], while there is nothing to send.
    sender: Option<Waker>,
}

struct BatchedWrite {
    stream: Arc<WorkerStream>,
    bytes: Vec<u8>,
    /// Whether the bytes are written only if there is nothing to read on the stream.
    if_silent: bool,
    outcome: RefCell<WriteOutcome>,
}

enum WriteOutcome {
    /// `even_when_sent`: the waiting task has to be woken when the bytes were sent, because no answer will wake it.
    Waits { waker: Waker, even_when_sent: bool },
    /// The write took so many of the bytes, or failed.
    Over(io::Result<usize>),
    /// The request that wanted the bytes sent is gone.
    Withdrawn,
}

impl WriteBatch {
    /// Sends what is put into the batch, for as long as the future is polled. To be run once for each thread.
    pub(in crate::acceptor) async fn run(self) {
        let mut writes = Vec::new();
        let mut window = BatchWindow::default();
        loop {
            poll_fn(|cx| self.0.borrow_mut().poll_filled(cx)).await;
            window.begin(self.waiting());
            while window.waits_for_more() {
                tokio::task::yield_now().await;
                window.look(self.waiting());
            }
            std::mem::swap(&mut writes, &mut self.0.borrow_mut().writes);
            for write in writes.drain(..) {
                write.send();
            }
        }
    }

    fn waiting(&self) -> usize {
        self.0.borrow().writes.len()
    }

    /// Puts the bytes into the batch. The bytes are written to the stream when the tasks that are ready now have run,
    /// or a little later.
    ///
    /// The future returns how many bytes were taken, which may be fewer than all, or the error of the write. When all
    /// were written, it wakes its task only when the stream has something to read, because the task reads next.
    ///
    /// # Cancel safety
    /// Dropping the future takes the bytes back, unless they are written already.
    pub(in crate::acceptor) fn post(&self, stream: &Arc<WorkerStream>, bytes: Vec<u8>) -> PendingWrite {
        self.put_in(stream, bytes, false)
    }

    /// Does what [`post`](Self::post) does, for a stream over which an earlier request was answered. Bytes that lie on
    /// the stream before the write cannot be the answer: when the event loop has heard of such, nothing is written, and
    /// the future fails with `InvalidData`, or with `ConnectionReset` when the stream has ended.
    pub(in crate::acceptor) fn post_if_silent(
        &self,
        stream: &Arc<WorkerStream>,
        bytes: Vec<u8>,
    ) -> PendingWrite {
        self.put_in(stream, bytes, true)
    }

    fn put_in(&self, stream: &Arc<WorkerStream>, bytes: Vec<u8>, if_silent: bool) -> PendingWrite {
        let outcome =
            RefCell::new(WriteOutcome::Waits { waker: Waker::noop().clone(), even_when_sent: true });
        let write = Rc::new(BatchedWrite { stream: Arc::clone(stream), bytes, if_silent, outcome });
        let mut waiting = self.0.borrow_mut();
        waiting.writes.push(Rc::clone(&write));
        if waiting.writes.len() == 1
            && let Some(sender) = &waiting.sender
        {
            sender.wake_by_ref();
        }
        PendingWrite(write)
    }
}

impl PendingWrites {
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.writes.is_empty() {
            return Poll::Ready(());
        }
        if !self.sender.as_ref().is_some_and(|sender| sender.will_wake(cx.waker())) {
            self.sender = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl BatchedWrite {
    fn send(&self) {
        let mut outcome = self.outcome.borrow_mut();
        if matches!(*outcome, WriteOutcome::Withdrawn) {
            return;
        }
        let news = if self.if_silent { self.stream.heard() } else { News::None };
        let written = match news {
            News::None => self.stream.write_now(&self.bytes),
            News::Bytes => Err(io::ErrorKind::InvalidData.into()),
            News::End => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let all = matches!(written, Ok(count) if count == self.bytes.len());
        let before = std::mem::replace(&mut *outcome, WriteOutcome::Over(written));
        if let WriteOutcome::Waits { waker, even_when_sent } = before
            && (even_when_sent || !all)
        {
            waker.wake();
        }
    }
}

/// Bytes on their way into a stream. See [`WriteBatch::post`].
pub(in crate::acceptor) struct PendingWrite(Rc<BatchedWrite>);

impl PendingWrite {
    pub(in crate::acceptor) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether all bytes are written, though the task has not been told yet.
    pub(in crate::acceptor) fn is_written(&self) -> bool {
        matches!(*self.0.outcome.borrow(), WriteOutcome::Over(Ok(count)) if count == self.0.bytes.len())
    }
}

impl Future for PendingWrite {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut outcome = self.0.outcome.borrow_mut();
        match std::mem::replace(&mut *outcome, WriteOutcome::Withdrawn) {
            WriteOutcome::Over(written) => Poll::Ready(written),
            WriteOutcome::Waits { .. } | WriteOutcome::Withdrawn => {
                let even_when_sent = self.0.stream.poll_readable(cx).is_ready();
                *outcome = WriteOutcome::Waits { waker: cx.waker().clone(), even_when_sent };
                Poll::Pending
            }
        }
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        *self.0.outcome.borrow_mut() = WriteOutcome::Withdrawn;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Arc<WorkerStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Arc::new(WorkerStream::new(ours.into()).unwrap()), theirs)
    }

    fn received(worker: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The read takes what is there, up to `WouldBlock`.
        worker.read_to_end(&mut bytes).ok();
        bytes
    }

    async fn beside<T>(write_batch: &WriteBatch, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = write_batch.clone().run() => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn those_that_come_in_the_turns_after_are_sent_together() {
        let write_batch = WriteBatch::default();
        let (one, mut first) = pair();
        let (two, mut second) = pair();
        let (three, mut third) = pair();
        let sent = async {
            let _both =
                (write_batch.post(&one, b"first".to_vec()), write_batch.post(&two, b"second".to_vec()));
            tokio::task::yield_now().await;
            assert_eq!((received(&mut first), received(&mut second)), (vec![], vec![]));
            let posted = write_batch.post(&three, b"third".to_vec());
            third.write_all(b"!").unwrap();
            posted.await.unwrap()
        };
        assert_eq!(beside(&write_batch, sent).await, 5);
        assert_eq!((received(&mut first), received(&mut second)), (b"first".to_vec(), b"second".to_vec()));
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_others_had_their_turn_and_then_all_is() {
        let write_batch = WriteBatch::default();
        let (one, mut first) = pair();
        let (two, mut second) = pair();
        let sent = async {
            let posted =
                (write_batch.post(&one, b"first".to_vec()), write_batch.post(&two, b"second".to_vec()));
            assert!(received(&mut first).is_empty());
            // Only an answer wakes the tasks whose bytes were written.
            first.write_all(b"!").unwrap();
            second.write_all(b"!").unwrap();
            (posted.0.await.unwrap(), posted.1.await.unwrap())
        };
        assert_eq!(beside(&write_batch, sent).await, (5, 6));
        assert_eq!((received(&mut first), received(&mut second)), (b"first".to_vec(), b"second".to_vec()));
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_not_written() {
        let write_batch = WriteBatch::default();
        let (stream, mut worker) = pair();
        drop(write_batch.post(&stream, b"one".to_vec()));
        let posted = write_batch.post(&stream, b"two".to_vec());
        worker.write_all(b"!").unwrap();
        assert_eq!(beside(&write_batch, posted).await.unwrap(), 3);
        assert_eq!(received(&mut worker), b"two");
        assert_eq!(Arc::strong_count(&stream), 1, "nobody holds it any more");
    }

    #[tokio::test]
    async fn what_lies_there_already_is_no_answer_to_what_is_sent_only_if_it_is_silent() {
        let write_batch = WriteBatch::default();
        let (stream, mut worker) = pair();
        let posted = write_batch.post_if_silent(&stream, b"two".to_vec());
        worker.write_all(b"!").unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert_eq!(beside(&write_batch, posted).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(received(&mut worker).is_empty());
        let (stream, worker) = pair();
        drop(worker);
        poll_fn(|cx| stream.poll_readable(cx)).await;
        let error =
            beside(&write_batch, write_batch.post_if_silent(&stream, b"x".to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_failure_and_a_full_socket_are_told_without_an_answer() {
        let write_batch = WriteBatch::default();
        let (stream, worker) = pair();
        let many = write_batch.post(&stream, vec![7; 4 << 20]);
        let taken = beside(&write_batch, many).await.unwrap();
        assert!((1..4 << 20).contains(&taken), "{taken}");
        drop(worker);
        let error = beside(&write_batch, write_batch.post(&stream, b"x".to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
