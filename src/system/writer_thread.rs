//! A thread that writes for others to outputs that may keep it waiting: a terminal, a pipe, the journal, systemd.
//!
//! A bounded amount waits for the thread; records beyond that are dropped, and handing over never waits. Never here:
//! what is written, where to, or how losses are reported.

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Records that are written together.
pub(crate) trait RecordBatch: Default + Send + 'static {
    fn records(&self) -> usize;
    /// The memory that the records take, in bytes.
    fn bytes(&self) -> usize;
    /// Empties the batch for another use; `false`: it is not worth keeping.
    fn reset(&mut self) -> bool;
}

/// The output that the thread writes to.
pub(crate) trait Sink<P>: Send + 'static {
    /// Writes a batch; may take any time.
    fn write(&mut self, batch: &P);
    /// Whether a notice is due, which [`catch_up`](Self::catch_up) writes.
    fn owes(&self) -> bool {
        false
    }
    /// Lets a sink write the notice that is due: there is room for it, or nothing more comes.
    fn catch_up(&mut self) {}
}

/// The way to the thread. Cheap to clone; when all clones are gone the thread ends.
pub(crate) struct WriterHandle<P> {
    sender: Sender<Message<P>>,
    backlog: Arc<Backlog<P>>,
}

// The impl is written by hand, because a batch need not be `Clone`.
impl<P> Clone for WriterHandle<P> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), backlog: Arc::clone(&self.backlog) }
    }
}

impl<P: RecordBatch> WriterHandle<P> {
    /// Takes the records out of the batch and leaves it empty; never waits.
    ///
    /// # Errors
    /// [`Dropped`] when too many wait already, or the thread is gone.
    pub(crate) fn hand_over(&self, batch: &mut P) -> Result<(), Dropped> {
        let records = batch.records();
        if !self.backlog.admits(batch) {
            batch.reset();
            return Err(Dropped { records });
        }
        let full = std::mem::replace(batch, self.backlog.spare());
        self.sender.send(Message::Write(full)).map_err(|_| Dropped { records })
    }

    /// Waits until all that was handed over is written, for at most the limit; returns whether it is. Blocks its
    /// thread.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        self.sender.send(Message::Flush(done)).is_ok() && flushed.recv_timeout(limit).is_ok()
    }
}

/// Records were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) records: usize,
}

enum Message<P> {
    Write(P),
    Flush(SyncSender<()>),
}

/// The records that wait for the thread.
struct Backlog<P> {
    records: AtomicUsize,
    bytes: AtomicUsize,
    /// Written batches, emptied for another use; the lock is held for a push or a pop.
    spare: Mutex<Vec<P>>,
}

impl<P: RecordBatch> Backlog<P> {
    /// Counts a batch in, if there is room. Several threads may exceed the limit by a batch each.
    fn admits(&self, batch: &P) -> bool {
        let room = self.records.load(Ordering::Relaxed) + batch.records() <= BACKLOG
            && self.bytes.load(Ordering::Relaxed) + batch.bytes() <= BACKLOG_BYTES;
        if room {
            self.records.fetch_add(batch.records(), Ordering::Relaxed);
            self.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
        }
        room
    }

    fn spare(&self) -> P {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn done(&self, mut batch: P) {
        self.records.fetch_sub(batch.records(), Ordering::Relaxed);
        self.bytes.fetch_sub(batch.bytes(), Ordering::Relaxed);
        let worth_keeping = batch.reset();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if worth_keeping && spare.len() < SPARE {
            spare.push(batch);
        }
    }
}

/// The thread, for the code that waits for its end.
pub(crate) struct WriterThread<P> {
    thread: JoinHandle<()>,
    backlog: Arc<Backlog<P>>,
    /// Closes when the thread is over.
    over: oneshot::Receiver<Infallible>,
}

impl<P> WriterThread<P> {
    /// Returns when the thread is over, for which every [`WriterHandle`] has to be gone. Cancel-safe.
    pub(crate) async fn over(&mut self) {
        // Nothing is ever sent: the channel can only close.
        let _ = (&mut self.over).await;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.backlog.records.load(Ordering::Relaxed)
    }

    /// Whether the thread ended in order; to be called when it is over.
    pub(crate) fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Starts the thread.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start<P: RecordBatch>(
    name: &str,
    sink: impl Sink<P>,
) -> io::Result<(WriterHandle<P>, WriterThread<P>)> {
    let (sender, messages) = channel();
    let (running, over) = oneshot::channel();
    let backlog = Arc::new(Backlog {
        records: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        spare: Mutex::new(Vec::new()),
    });
    let waiting = Arc::clone(&backlog);
    let run = move || {
        write_all(&messages, &waiting, sink);
        drop(running);
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
    Ok((WriterHandle { sender, backlog: Arc::clone(&backlog) }, WriterThread { thread, backlog, over }))
}

fn write_all<P: RecordBatch>(messages: &Receiver<Message<P>>, backlog: &Backlog<P>, mut sink: impl Sink<P>) {
    let mut caught_up: Option<Instant> = None;
    loop {
        let room = backlog.records.load(Ordering::Relaxed) < BACKLOG / 2;
        if room && sink.owes() && caught_up.is_none_or(|when| when.elapsed() >= CATCH_UP_EVERY) {
            sink.catch_up();
            caught_up = Some(Instant::now());
        }
        let next = match sink.owes() {
            true => messages.recv_timeout(PAUSE),
            false => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Message::Write(batch)) => {
                sink.write(&batch);
                backlog.done(batch);
            }
            // The caller may have gone meanwhile.
            Ok(Message::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    sink.catch_up();
}

/// Writes all of it with as few system calls as there can be, and waits for as long as that takes: past std's own
/// buffer, which looks for the last line's end and gives up where a descriptor that somebody else has made non-blocking
/// is full.
///
/// # Errors
/// [`WriteError`], with what was not written.
pub(crate) fn write_to<'a>(out: BorrowedFd<'_>, mut text: &'a [u8]) -> Result<(), WriteError<'a>> {
    while !text.is_empty() {
        match rustix::io::write(out, text) {
            Ok(written) => text = &text[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for_room(out),
            Err(why) => return Err(WriteError { unwritten: text, why }),
        }
    }
    Ok(())
}

/// The reader takes no more of what is written.
#[derive(Debug)]
pub(crate) struct WriteError<'a> {
    pub(crate) unwritten: &'a [u8],
    pub(crate) why: Errno,
}

fn wait_for_room(out: BorrowedFd<'_>) {
    // An error does not matter: the next write reports it.
    let _ = poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::OUT)], None);
}

/// The most records that may wait for the thread, and the most bytes of them.
pub(crate) const BACKLOG: usize = 8192;
pub(crate) const BACKLOG_BYTES: usize = 8 << 20;
/// The most batches that are kept for another use.
const SPARE: usize = 4;
/// How long a sink with a due notice waits for a batch before it is looked at again.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest time between two notices.
const CATCH_UP_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use rustix::io::ioctl_fionbio;
    use rustix::pipe::pipe;

    use super::*;

    #[derive(Default)]
    struct Text(String);

    impl RecordBatch for Text {
        fn records(&self) -> usize {
            1
        }
        fn bytes(&self) -> usize {
            self.0.len()
        }
        fn reset(&mut self) -> bool {
            self.0.clear();
            true
        }
    }

    /// Writes when it is let.
    struct Gated {
        gate: Receiver<()>,
        written: Sender<String>,
    }

    impl Sink<Text> for Gated {
        fn write(&mut self, batch: &Text) {
            let _ = self.gate.recv();
            self.written.send(batch.0.clone()).unwrap();
        }
    }

    fn text(text: &str) -> Text {
        Text(text.into())
    }

    #[test]
    fn a_flush_waits_for_what_was_handed_over_but_not_for_ever() {
        let (go_on, gate) = channel();
        let (written, page) = channel();
        let (way, _writer) = start("test", Gated { gate, written }).unwrap();
        way.hand_over(&mut text("one")).unwrap();
        assert!(!way.flush(Duration::from_millis(1)));
        go_on.send(()).unwrap();
        assert!(way.flush(Duration::from_secs(20)));
        assert_eq!(page.try_recv().unwrap(), "one");
    }

    #[test]
    fn whoever_hands_over_too_much_is_told_and_does_not_wait() {
        let (go_on, gate) = channel();
        let (written, page) = channel();
        let (way, writer) = start("test", Gated { gate, written }).unwrap();
        let mut dropped = 0;
        for _ in 0..BACKLOG + 5 {
            dropped += way.hand_over(&mut text("x")).map_or_else(|dropped| dropped.records, |()| 0);
        }
        assert_eq!((dropped, writer.waiting()), (5, BACKLOG));
        drop((go_on, way));
        assert_eq!(page.iter().count(), BACKLOG);
        assert!(writer.join());
    }

    /// Owes something from its first batch on.
    struct Debtor {
        owes: bool,
        said: Sender<()>,
    }

    impl Sink<Text> for Debtor {
        fn write(&mut self, _: &Text) {
            self.owes = true;
        }
        fn owes(&self) -> bool {
            self.owes
        }
        fn catch_up(&mut self) {
            self.owes = false;
            let _ = self.said.send(());
        }
    }

    #[test]
    fn what_is_owed_is_said_though_parcels_keep_coming() {
        let (said, heard) = channel();
        let (way, _writer) = start("test", Debtor { owes: false, said }).unwrap();
        while heard.try_recv().is_err() {
            way.hand_over(&mut text("again")).ok();
        }
    }

    #[test]
    fn an_output_that_must_not_block_is_waited_for() {
        let (reader, out) = pipe().unwrap();
        ioctl_fionbio(&out, true).unwrap();
        let text = b"a line of some record\n".repeat(20_000);
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut read).unwrap();
            read
        });
        assert!(write_to(out.as_fd(), &text).is_ok());
        drop(out);
        assert!(reading.join().unwrap() == text);
    }
}
