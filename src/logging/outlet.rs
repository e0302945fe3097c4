//! Standard error and the journal's socket behind one thread that may wait for them, so that no other thread does.
//!
//! Records beyond the limit are dropped and counted, and the log says so when there is room again. Never here: the look
//! of a record.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::journal_socket::JournalSocket;
use crate::system::writer_thread::{self, RecordBatch, Sink, WriterHandle};

/// Starts the thread, once for the process; a later call changes nothing.
///
/// # Errors
/// When there can be no thread.
pub(super) fn open(journal: Option<JournalSocket>) -> io::Result<()> {
    if OUTLET.get().is_none() {
        let direct = journal.as_ref().map(JournalSocket::try_clone).transpose()?;
        let (way, _) = writer_thread::start("log", LineWriter { journal, told: 0 })?;
        let _ = OUTLET.set(LogOutlet { way, journal: direct });
    }
    Ok(())
}

/// The number of log records that were dropped so far, because nothing took the records before, or nothing takes any.
pub(crate) fn records_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Lets the calling thread wait for the journal from now on, for threads whose records have a limit of their own.
pub(crate) fn this_thread_may_wait() {
    MAY_WAIT.set(true);
}

/// Writes text to standard error after all that was logged before; never waits.
pub(crate) fn say(text: &str) {
    let _ = Stderr.write_all(text.as_bytes());
}

/// Waits, when dropped, for a short while until all records are written.
#[must_use = "dropping it at once waits for nothing that comes later"]
#[derive(Debug)]
pub(crate) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until all records are written, for at most 2 s. Blocks its thread.
pub(crate) fn flush() {
    if let Some(outlet) = OUTLET.get() {
        outlet.way.flush(LAST_RECORDS);
    }
}

/// Lets a thread write the last words of a process to standard error, and waits for it for at most 2 s. Blocks its
/// thread.
pub(crate) fn last_words(write: impl FnOnce() + Send + 'static) {
    flush();
    let (done, written) = sync_channel(1);
    let run = move || {
        write();
        let _ = done.try_send(());
    };
    if std::thread::Builder::new().name("last-words".into()).spawn(run).is_ok() {
        let _ = written.recv_timeout(LAST_RECORDS);
    }
}

/// Standard error, as the log writes to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

/// The writer for subscribers that ask for one.
pub(super) fn stderr() -> Stderr {
    Stderr
}

impl Write for Stderr {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match OUTLET.get() {
            Some(outlet) => outlet.hand_over(To::Stderr, record),
            None => return io::stderr().write(record),
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a record in the journal's own format; waits only on a thread that may.
pub(super) fn to_journal(record: &[u8]) {
    let Some(outlet) = OUTLET.get() else { return };
    match &outlet.journal {
        Some(socket) if MAY_WAIT.get() => count_lost(socket.send(record)),
        _ => outlet.hand_over(To::Journal, record),
    }
}

struct LogOutlet {
    way: WriterHandle<StderrLine>,
    journal: Option<JournalSocket>,
}

impl LogOutlet {
    fn hand_over(&self, to: To, record: &[u8]) {
        let mut line = StderrLine { to, bytes: record.to_vec() };
        if let Err(dropped) = self.way.hand_over(&mut line) {
            DROPPED.fetch_add(dropped.records as u64, Ordering::Relaxed);
        }
    }
}

#[derive(Clone, Copy, Default)]
enum To {
    #[default]
    Stderr,
    Journal,
}

/// A record, ready to be written.
#[derive(Default)]
struct StderrLine {
    to: To,
    bytes: Vec<u8>,
}

impl RecordBatch for StderrLine {
    fn records(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn reset(&mut self) -> bool {
        // The records have memory of their own, so that the batch is not worth keeping.
        false
    }
}

struct LineWriter {
    journal: Option<JournalSocket>,
    /// How many dropped records the log has reported.
    told: u64,
}

impl Sink<StderrLine> for LineWriter {
    fn write(&mut self, line: &StderrLine) {
        match (line.to, &self.journal) {
            (To::Journal, Some(socket)) => count_lost(socket.send(&line.bytes)),
            _ => count_lost(
                writer_thread::write_to(io::stderr().as_fd(), &line.bytes).map_err(|broken| broken.why),
            ),
        }
    }

    fn owes(&self) -> bool {
        records_dropped() != self.told
    }

    /// The report comes when the rest is written: a record about dropped records must not be dropped itself.
    fn catch_up(&mut self) {
        let dropped = records_dropped();
        let records = dropped - self.told;
        self.told = dropped;
        if records > 0 {
            tracing::warn!(records, "log records were dropped: whatever takes them is too slow, or gone");
            // When the report is lost too, nobody is there to read it.
            self.told += records_dropped() - dropped;
        }
    }
}

fn count_lost<T, E>(written: Result<T, E>) {
    if written.is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

static OUTLET: OnceLock<LogOutlet> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// How long the end of a process waits for the reader of its log.
const LAST_RECORDS: Duration = Duration::from_secs(2);
