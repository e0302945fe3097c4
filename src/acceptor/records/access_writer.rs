//! The thread that writes access records: to standard output or to the journal, either of which may keep it waiting.
//!
//! Records that are dropped, because too many wait for the thread, are counted, and the log says so. Never here: the
//! look of a record (`access_line`).

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use crate::logging;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RequestId, WorkerId};
use crate::spec::AccessFormat;
use crate::system::writer_thread::{self, RecordBatch, Sink, WriterHandle};
use crate::time::timer;

use super::access_line::AccessEntry;

/// The form of records on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Look {
    Lines {
        colours: bool,
    },
    Json,
    /// Messages with fields, for the journal.
    Journal,
}

/// Consecutive records of one thread.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct Batch {
    pub(in crate::acceptor) text: Vec<u8>,
    pub(in crate::acceptor) records: usize,
    /// A record's fields, for the journal only.
    pub(in crate::acceptor) fields: Vec<Fields>,
}

impl RecordBatch for Batch {
    fn records(&self) -> usize {
        self.records
    }

    fn bytes(&self) -> usize {
        self.text.len()
    }

    fn reset(&mut self) -> bool {
        self.text.clear();
        self.records = 0;
        self.fields.clear();
        self.text.capacity() <= SPARE_BYTES
    }
}

/// The fields that the journal keeps of a record beside its message.
#[derive(Debug)]
pub(in crate::acceptor) struct Fields {
    /// The end of the record's message in the text of the batch.
    end: usize,
    app: Option<AppName>,
    worker: Option<WorkerId>,
    generation: Option<GenerationId>,
    id: RequestId,
    status: u16,
    reason: Option<&'static str>,
}

impl Fields {
    pub(in crate::acceptor) fn of(entry: &AccessEntry<'_>, end: usize) -> Self {
        Self {
            end,
            app: entry.app.cloned(),
            worker: entry.record.worker,
            generation: entry.record.generation,
            id: entry.particulars.id,
            status: entry.record.status,
            reason: entry.record.reason,
        }
    }
}

/// The way to the writer. Cheap to clone; when all clones are gone, the writer ends.
#[derive(Clone)]
pub(in crate::acceptor) struct Outlet {
    pub(in crate::acceptor) look: Look,
    way: WriterHandle<Batch>,
    metrics: Metrics,
}

impl Outlet {
    /// Takes the records out of the batch; counts them as dropped when too many wait already.
    pub(in crate::acceptor) fn hand_over(&self, batch: &mut Batch) {
        if batch.records == 0 {
            return;
        }
        if let Err(dropped) = self.way.hand_over(batch) {
            self.metrics.access_records_dropped.inc_by(dropped.records as u64);
        }
    }
}

/// The thread that writes records.
pub(in crate::acceptor) struct AccessWriter(writer_thread::WriterThread<Batch>);

impl AccessWriter {
    /// Waits until all records are written, for at most `limit`: perhaps nobody reads them.
    pub(in crate::acceptor) async fn finish(mut self, limit: Duration) {
        if timer::timeout(limit, self.0.over()).await.is_err() {
            tracing::warn!(records = self.0.waiting(), "the last access records are lost: nobody takes them");
        } else if !self.0.join() {
            tracing::error!("the thread that writes access records panicked");
        }
    }
}

/// Starts the writer. `None` when there is nothing to write.
pub(in crate::acceptor) fn start(
    style: AccessFormat,
    to_journal: bool,
    metrics: Metrics,
) -> io::Result<Option<(Outlet, AccessWriter)>> {
    let look = match style {
        AccessFormat::Off => return Ok(None),
        AccessFormat::Json => Look::Json,
        AccessFormat::Human if to_journal => Look::Journal,
        AccessFormat::Human => Look::Lines { colours: wants_colours() },
    };
    let write = if look == Look::Journal { tell_the_journal } else { write_out };
    start_with(look, metrics, write).map(Some)
}

/// `write` returns how many records were lost, and why.
pub(in crate::acceptor) fn start_with(
    look: Look,
    metrics: Metrics,
    write: impl FnMut(&Batch) -> Result<(), Lost> + Send + 'static,
) -> io::Result<(Outlet, AccessWriter)> {
    let sink = RecordSink { metrics: metrics.clone(), write, losses: Losses::default() };
    let (way, writer) = writer_thread::start("access-log", sink)?;
    Ok((Outlet { look, way, metrics }, AccessWriter(writer)))
}

struct RecordSink<W> {
    metrics: Metrics,
    write: W,
    losses: Losses,
}

impl<W: FnMut(&Batch) -> Result<(), Lost> + Send + 'static> Sink<Batch> for RecordSink<W> {
    fn write(&mut self, batch: &Batch) {
        let written = (self.write)(batch);
        if let Err(lost) = &written {
            self.metrics.access_records_dropped.inc_by(lost.records);
        }
        self.losses.tell(self.metrics.access_records_dropped.get(), written.err());
    }

    fn owes(&self) -> bool {
        self.metrics.access_records_dropped.get() != self.losses.told
    }

    fn catch_up(&mut self) {
        self.losses.when = None;
        self.losses.tell(self.metrics.access_records_dropped.get(), None);
    }
}

/// Records that could not be written.
pub(in crate::acceptor) struct Lost {
    records: u64,
    why: Errno,
}

/// How many losses the log has told.
#[derive(Default)]
struct Losses {
    told: u64,
    when: Option<Instant>,
}

impl Losses {
    /// Logs losses, at intervals that an operator can read.
    fn tell(&mut self, dropped: u64, lost: Option<Lost>) {
        if dropped == self.told || self.when.is_some_and(|when| when.elapsed() < TELL_EVERY) {
            return;
        }
        let records = dropped - self.told;
        match lost {
            Some(Lost { why, .. }) => tracing::warn!(records, error = %why, "access records are lost"),
            None => tracing::warn!(records, "access records were dropped: whatever reads them is too slow"),
        }
        self.told = dropped;
        self.when = Some(Instant::now());
    }
}

fn wants_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn write_out(batch: &Batch) -> Result<(), Lost> {
    write_to(io::stdout().as_fd(), &batch.text)
}

fn write_to(out: BorrowedFd<'_>, text: &[u8]) -> Result<(), Lost> {
    writer_thread::write_to(out, text).map_err(|broken| Lost {
        records: memchr::memchr_iter(b'\n', broken.unwritten).count() as u64,
        why: broken.why,
    })
}

fn tell_the_journal(batch: &Batch) -> Result<(), Lost> {
    // Records that have a thread of their own may wait: they take the room of no others.
    logging::this_thread_may_wait();
    let mut start = 0;
    for record in &batch.fields {
        let message = String::from_utf8_lossy(&batch.text[start..record.end]);
        start = record.end;
        tracing::info!(
            target: "access",
            app = record.app.as_ref().map(AppName::as_str),
            worker = record.worker.map(|worker| worker.0),
            generation = record.generation.map(|generation| generation.0),
            request_id = record.id.as_str(),
            status = record.status,
            reason = record.reason,
            "{}", message.trim_end()
        );
    }
    Ok(())
}

/// The largest batch, in bytes, that is kept to be used again.
const SPARE_BYTES: usize = 64 << 10;
const TELL_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Mutex;
    use std::sync::mpsc::{channel, sync_channel};

    use rustix::pipe::pipe;

    use super::*;
    use crate::system::writer_thread::{BACKLOG, BACKLOG_BYTES};

    const LOOK: Look = Look::Lines { colours: false };

    fn batch(records: usize, text: &[u8]) -> Batch {
        Batch { text: text.to_vec(), records, fields: Vec::new() }
    }

    #[tokio::test]
    async fn beyond_what_may_wait_records_are_dropped_and_counted() {
        let metrics = Metrics::new();
        let (go_on, gate) = sync_channel::<()>(0);
        let (told, written) = channel();
        let write = move |batch: &Batch| {
            let _ = gate.recv();
            told.send(batch.records).unwrap();
            Ok(())
        };
        let (outlet, writer) = start_with(LOOK, metrics.clone(), write).unwrap();
        for _ in 0..BACKLOG / 256 + 2 {
            let mut full = batch(256, b"");
            outlet.hand_over(&mut full);
            assert_eq!(full.records, 0);
        }
        assert_eq!(metrics.access_records_dropped.get(), 512);
        // Records that were written make room.
        go_on.send(()).unwrap();
        assert_eq!(written.recv(), Ok(256));
        go_on.send(()).unwrap();
        outlet.hand_over(&mut batch(256, b""));
        assert_eq!(metrics.access_records_dropped.get(), 512);
        drop((outlet, go_on));
        writer.finish(Duration::MAX).await;
        assert_eq!(written.iter().sum::<usize>(), BACKLOG);
    }

    #[tokio::test]
    async fn few_records_of_many_bytes_are_too_much_as_well() {
        let metrics = Metrics::new();
        let (_go_on, gate) = channel::<()>();
        let write = move |_: &Batch| {
            let _ = gate.recv();
            Ok(())
        };
        let (outlet, writer) = start_with(LOOK, metrics.clone(), write).unwrap();
        outlet.hand_over(&mut batch(1, &vec![b'a'; BACKLOG_BYTES]));
        outlet.hand_over(&mut batch(2, b"b"));
        assert_eq!(metrics.access_records_dropped.get(), 2);
        // The end does not wait for a reader that does not read.
        drop(outlet);
        writer.finish(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn records_that_cannot_be_written_are_counted() {
        let (reader, out) = pipe().unwrap();
        drop(reader);
        let metrics = Metrics::new();
        let write = move |batch: &Batch| write_to(out.as_fd(), &batch.text);
        let (outlet, writer) = start_with(LOOK, metrics.clone(), write).unwrap();
        outlet.hand_over(&mut batch(3, b"one\ntwo\nthree\n"));
        drop(outlet);
        writer.finish(Duration::MAX).await;
        assert_eq!(metrics.access_records_dropped.get(), 3);
    }

    #[test]
    fn each_record_in_the_journal_has_its_own_message_and_fields() {
        let fields = |end, id: &str, app: Option<&str>| Fields {
            end,
            app: app.map(|app| AppName::parse(app).unwrap()),
            worker: Some(WorkerId(3)),
            generation: None,
            id: RequestId::parse(id.as_bytes()).unwrap(),
            status: 200,
            reason: None,
        };
        let (first, second) = ("GET /one request-1\n", "GET /two request-2\n");
        let both = Batch {
            text: [first, second].concat().into_bytes(),
            records: 2,
            fields: vec![
                fields(first.len(), "request-1", Some("api")),
                fields(first.len() + second.len(), "request-2", None),
            ],
        };
        let (mut page, out) = io::pipe().unwrap();
        let lines =
            tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(Mutex::new(out)).finish();
        tracing::subscriber::with_default(lines, || assert!(tell_the_journal(&both).is_ok()));
        let mut text = String::new();
        page.read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            " INFO access: GET /one request-1 app=\"api\" worker=3 request_id=\"request-1\" status=200\n \
              INFO access: GET /two request-2 worker=3 request_id=\"request-2\" status=200\n"
        );
    }
}
