//! What the requests of one thread want sent to workers, sent in a row when all that was ready has had its turn,
//! and what comes right after it (`patience`).
//!
//! A request that is sent wakes its worker. While others of the same moment are still read and parsed in between, the
//! worker's core falls asleep again each time, and to wake a core that sleeps costs more than all else a request does.
//! One task sends for all: a request that did so itself would have to be woken for it. Never here: what is sent.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::acceptor::worker_socket::News;
use crate::acceptor::worker_stream::WorkerStream;

use super::patience::Patience;

/// The outbox of a thread. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(in crate::acceptor) struct Outbox(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    letters: Vec<Rc<Letter>>,
    /// Of [`Outbox::run`], while there is nothing to send.
    sender: Option<Waker>,
}

struct Letter {
    stream: Arc<WorkerStream>,
    bytes: Vec<u8>,
    /// Whether it is sent only if there is nothing to read on the stream.
    if_silent: bool,
    fate: RefCell<Fate>,
}

enum Fate {
    /// `even_when_sent`: who waits for it is not woken by the answer.
    Waits { waker: Waker, even_when_sent: bool },
    /// So many of its bytes were taken.
    Over(io::Result<usize>),
    /// Nobody wants it sent any more.
    Withdrawn,
}

impl Outbox {
    /// Sends what is put in, for as long as it is polled. To be run once for each outbox.
    pub(in crate::acceptor) async fn run(self) {
        let mut letters = Vec::new();
        let mut patience = Patience::default();
        loop {
            poll_fn(|cx| self.0.borrow_mut().poll_filled(cx)).await;
            patience.begin(self.waiting());
            while patience.waits_for_more() {
                tokio::task::yield_now().await;
                patience.look(self.waiting());
            }
            std::mem::swap(&mut letters, &mut self.0.borrow_mut().letters);
            for letter in letters.drain(..) {
                letter.send();
            }
        }
    }

    fn waiting(&self) -> usize {
        self.0.borrow().letters.len()
    }

    /// Has the bytes written to the stream once the tasks that are ready now have had their turn, or a little later.
    ///
    /// The future says how many were taken, which may be fewer than all, or what the write said. Having written all it
    /// wakes its task only when the stream has something to read: whatever is done next is to read from it.
    ///
    /// # Cancel safety
    /// Dropping the future takes the bytes back, unless they were written already.
    pub(in crate::acceptor) fn post(&self, stream: &Arc<WorkerStream>, bytes: Vec<u8>) -> Posted {
        self.put_in(stream, bytes, false)
    }

    /// [`post`](Self::post) of a request to a stream over which an earlier one was answered. What lies there when it is
    /// to be written is not its answer, as far as the event loop has heard: then nothing is written, and the future
    /// says `InvalidData`; `ConnectionReset` when the stream has ended.
    pub(in crate::acceptor) fn post_if_silent(&self, stream: &Arc<WorkerStream>, bytes: Vec<u8>) -> Posted {
        self.put_in(stream, bytes, true)
    }

    fn put_in(&self, stream: &Arc<WorkerStream>, bytes: Vec<u8>, if_silent: bool) -> Posted {
        let fate = RefCell::new(Fate::Waits { waker: Waker::noop().clone(), even_when_sent: true });
        let letter = Rc::new(Letter { stream: Arc::clone(stream), bytes, if_silent, fate });
        let mut waiting = self.0.borrow_mut();
        waiting.letters.push(Rc::clone(&letter));
        if waiting.letters.len() == 1
            && let Some(sender) = &waiting.sender
        {
            sender.wake_by_ref();
        }
        Posted(letter)
    }
}

impl Waiting {
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.letters.is_empty() {
            return Poll::Ready(());
        }
        if !self.sender.as_ref().is_some_and(|sender| sender.will_wake(cx.waker())) {
            self.sender = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Letter {
    fn send(&self) {
        let mut fate = self.fate.borrow_mut();
        if matches!(*fate, Fate::Withdrawn) {
            return;
        }
        let news = if self.if_silent { self.stream.heard() } else { News::None };
        let written = match news {
            News::None => self.stream.write_now(&self.bytes),
            News::Bytes => Err(io::ErrorKind::InvalidData.into()),
            News::End => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let all = matches!(written, Ok(count) if count == self.bytes.len());
        let before = std::mem::replace(&mut *fate, Fate::Over(written));
        if let Fate::Waits { waker, even_when_sent } = before
            && (even_when_sent || !all)
        {
            waker.wake();
        }
    }
}

/// Bytes on their way into a stream. See [`Outbox::post`].
pub(in crate::acceptor) struct Posted(Rc<Letter>);

impl Posted {
    /// What was posted.
    pub(in crate::acceptor) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether all of it was written, though nobody has been told yet.
    pub(in crate::acceptor) fn is_written(&self) -> bool {
        matches!(*self.0.fate.borrow(), Fate::Over(Ok(count)) if count == self.0.bytes.len())
    }
}

impl Future for Posted {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut fate = self.0.fate.borrow_mut();
        match std::mem::replace(&mut *fate, Fate::Withdrawn) {
            Fate::Over(written) => Poll::Ready(written),
            Fate::Waits { .. } | Fate::Withdrawn => {
                let even_when_sent = self.0.stream.poll_readable(cx).is_ready();
                *fate = Fate::Waits { waker: cx.waker().clone(), even_when_sent };
                Poll::Pending
            }
        }
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        *self.0.fate.borrow_mut() = Fate::Withdrawn;
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
        // What is there, up to `WouldBlock`.
        worker.read_to_end(&mut bytes).ok();
        bytes
    }

    async fn beside<T>(outbox: &Outbox, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = outbox.clone().run() => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn those_that_come_in_the_turns_after_are_sent_together() {
        let outbox = Outbox::default();
        let (one, mut first) = pair();
        let (two, mut second) = pair();
        let (three, mut third) = pair();
        let sent = async {
            let _both = (outbox.post(&one, b"first".to_vec()), outbox.post(&two, b"second".to_vec()));
            tokio::task::yield_now().await;
            assert_eq!((received(&mut first), received(&mut second)), (vec![], vec![]));
            let posted = outbox.post(&three, b"third".to_vec());
            third.write_all(b"!").unwrap();
            posted.await.unwrap()
        };
        assert_eq!(beside(&outbox, sent).await, 5);
        assert_eq!((received(&mut first), received(&mut second)), (b"first".to_vec(), b"second".to_vec()));
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_others_had_their_turn_and_then_all_is() {
        let outbox = Outbox::default();
        let (one, mut first) = pair();
        let (two, mut second) = pair();
        let sent = async {
            let posted = (outbox.post(&one, b"first".to_vec()), outbox.post(&two, b"second".to_vec()));
            assert!(received(&mut first).is_empty());
            // Only an answer wakes those whose bytes were written.
            first.write_all(b"!").unwrap();
            second.write_all(b"!").unwrap();
            (posted.0.await.unwrap(), posted.1.await.unwrap())
        };
        assert_eq!(beside(&outbox, sent).await, (5, 6));
        assert_eq!((received(&mut first), received(&mut second)), (b"first".to_vec(), b"second".to_vec()));
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_not_written() {
        let outbox = Outbox::default();
        let (stream, mut worker) = pair();
        drop(outbox.post(&stream, b"one".to_vec()));
        let posted = outbox.post(&stream, b"two".to_vec());
        worker.write_all(b"!").unwrap();
        assert_eq!(beside(&outbox, posted).await.unwrap(), 3);
        assert_eq!(received(&mut worker), b"two");
        assert_eq!(Arc::strong_count(&stream), 1, "nobody holds it any more");
    }

    #[tokio::test]
    async fn what_lies_there_already_is_no_answer_to_what_is_sent_only_if_it_is_silent() {
        let outbox = Outbox::default();
        let (stream, mut worker) = pair();
        let posted = outbox.post_if_silent(&stream, b"two".to_vec());
        worker.write_all(b"!").unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert_eq!(beside(&outbox, posted).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(received(&mut worker).is_empty());
        let (stream, worker) = pair();
        drop(worker);
        poll_fn(|cx| stream.poll_readable(cx)).await;
        let error = beside(&outbox, outbox.post_if_silent(&stream, b"x".to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_failure_and_a_full_socket_are_told_without_an_answer() {
        let outbox = Outbox::default();
        let (stream, worker) = pair();
        let many = outbox.post(&stream, vec![7; 4 << 20]);
        let taken = beside(&outbox, many).await.unwrap();
        assert!((1..4 << 20).contains(&taken), "{taken}");
        drop(worker);
        let error = beside(&outbox, outbox.post(&stream, b"x".to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
