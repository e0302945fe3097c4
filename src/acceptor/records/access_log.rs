//! Owns one thread's part of the access log: records become text here, and go to the writer in batches.
//!
//! Waking the writer for each record would cost more than the record. Never here: the look of a record (`access_line`),
//! or writing it out (`access_writer`).

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::Notify;

use crate::time::timer;

use super::access_line;
use super::access_line::{AccessEntry, Calendar};
use super::access_writer::{Batch, Fields, Look, Outlet};

/// The log of one thread. Dropping it hands over the records that are left.
pub(in crate::acceptor) struct AccessLog {
    on: Option<On>,
}

struct On {
    outlet: Outlet,
    pending: RefCell<Pending>,
    /// Notified when the first record of a batch is there.
    begun: Notify,
}

struct Pending {
    batch: Batch,
    calendar: Calendar,
}

impl AccessLog {
    /// Starts the log of one thread; without an outlet nothing is recorded.
    pub(in crate::acceptor) fn new(outlet: Option<Outlet>) -> Self {
        let on = outlet.map(|outlet| {
            let calendar = if outlet.look == Look::Json { Calendar::json() } else { Calendar::human() };
            let pending = RefCell::new(Pending { batch: Batch::default(), calendar });
            On { outlet, pending, begun: Notify::new() }
        });
        Self { on }
    }

    /// Whether records are written at all.
    pub(in crate::acceptor) fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Adds a record. The record is handed over within [`AT_THE_LATEST`] while somebody runs
    /// [`hand_over_in_time`](Self::hand_over_in_time).
    pub(in crate::acceptor) fn write(&self, entry: &AccessEntry<'_>) {
        let Some(on) = &self.on else { return };
        let mut pending = on.pending.borrow_mut();
        let Pending { batch, calendar } = &mut *pending;
        batch.records += 1;
        match on.outlet.look {
            Look::Lines { colours } => access_line::human(&mut batch.text, entry, calendar, colours),
            Look::Json => access_line::json(&mut batch.text, entry, calendar),
            Look::Journal => {
                access_line::human(&mut batch.text, entry, calendar, false);
                batch.fields.push(Fields::of(entry, batch.text.len()));
            }
        }
        if batch.records >= FULL || batch.text.len() >= FULL_BYTES {
            on.outlet.hand_over(batch);
        } else if batch.records == 1 {
            on.begun.notify_one();
        }
    }

    /// Hands records over [`AT_THE_LATEST`] after the first of each batch; never returns.
    pub(in crate::acceptor) async fn hand_over_in_time(&self) {
        let Some(on) = &self.on else { return std::future::pending().await };
        loop {
            on.begun.notified().await;
            timer::sleep(AT_THE_LATEST).await;
            self.hand_over();
        }
    }

    /// Hands over all records that are there.
    pub(in crate::acceptor) fn hand_over(&self) {
        let Some(on) = &self.on else { return };
        on.outlet.hand_over(&mut on.pending.borrow_mut().batch);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// How long a record waits for others.
const AT_THE_LATEST: Duration = Duration::from_millis(20);
/// The most records of a batch, and about how many bytes.
const FULL: usize = 256;
const FULL_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::UNIX_EPOCH;

    use tokio::time::timeout;

    use crate::metrics::Metrics;
    use crate::name::RequestId;

    use super::*;
    use crate::acceptor::records::access_record::{AccessRecord, Particulars};
    use crate::acceptor::records::access_writer::{AccessWriter, start_with};

    /// A log whose batches the test receives.
    fn log() -> (AccessLog, Receiver<String>, AccessWriter) {
        let (told, written) = channel();
        let write = move |batch: &Batch| {
            told.send(String::from_utf8(batch.text.clone()).unwrap()).unwrap();
            Ok(())
        };
        let look = Look::Lines { colours: false };
        let (outlet, writer) = start_with(look, Metrics::new(), write).unwrap();
        (AccessLog::new(Some(outlet)), written, writer)
    }

    fn take_down(log: &AccessLog, id: &str) {
        let id = RequestId::parse(id.as_bytes()).unwrap();
        log.write(&AccessEntry {
            time: UNIX_EPOCH,
            total: Duration::ZERO,
            app: None,
            record: &AccessRecord::blank(),
            particulars: &Particulars::blank(id, [10, 0, 0, 1].into()),
        });
    }

    fn ids(batch: &str) -> Vec<&str> {
        batch.lines().map(|line| line.rsplit(' ').next().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_waits_for_others_but_not_for_long() {
        let (log, written, _writer) = log();
        for round in ["round-1", "round-2"] {
            let ids_of_round = [format!("{round}-a"), format!("{round}-b")];
            for id in &ids_of_round {
                take_down(&log, id);
            }
            let soon = AT_THE_LATEST + Duration::from_millis(1);
            assert!(timeout(soon, log.hand_over_in_time()).await.is_err());
            assert_eq!(ids(&written.recv().unwrap()), ids_of_round);
        }
    }

    #[tokio::test]
    async fn as_many_as_go_together_do_not_wait() {
        let (log, written, _writer) = log();
        for number in 0..FULL + 1 {
            take_down(&log, &format!("record-{number}"));
        }
        let batch = written.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((ids(&batch).len(), ids(&batch)[FULL - 1]), (FULL, "record-255"));
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_written() {
        let (log, written, writer) = log();
        take_down(&log, "the-last-one");
        drop(log);
        writer.finish(Duration::MAX).await;
        assert_eq!(ids(&written.recv().unwrap()), ["the-last-one"]);
    }
}
