//! Owns the last lines that workers wrote, and hands new ones to whoever follows them.
//!
//! Never here: the log of the server itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc};

use crate::api::LogLine;
use crate::name::AppName;

/// The output of all workers of an instance. Clones are the same output.
#[derive(Clone)]
pub(super) struct RecentOutput {
    /// Lines and followers under one lock, so that a new follower neither misses a line nor reads it twice.
    shared: Arc<Mutex<RecentOutputInner>>,
}

struct RecentOutputInner {
    /// The lines with their numbers in the order in which they came, because the clock may be set back.
    lines: BTreeMap<AppName, VecDeque<(u64, LogLine)>>,
    come: u64,
    follow: broadcast::Sender<LogLine>,
}

impl RecentOutput {
    pub(super) fn new() -> Self {
        let (follow, _) = broadcast::channel(FOLLOWED);
        Self { shared: Arc::new(Mutex::new(RecentOutputInner { lines: BTreeMap::new(), come: 0, follow })) }
    }

    /// Keeps a line, forgets the oldest one of its app, and hands the new one to followers.
    pub(super) fn push(&self, line: LogLine) {
        let mut shared = self.lock();
        shared.come += 1;
        let come = shared.come;
        let kept = shared.lines.entry(line.app.clone()).or_default();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((come, line.clone()));
        // The send fails while nobody follows, which is most of the time.
        shared.follow.send(line).ok();
    }

    /// The last `count` lines of one app or of all, oldest first, and the lines to come.
    pub(super) fn tail(&self, app: Option<&AppName>, count: usize) -> Tail {
        let shared = self.lock();
        let wanted = shared.lines.iter().filter(|(name, _)| app.is_none_or(|app| app == *name));
        let mut lines: Vec<_> = wanted.flat_map(|(_, lines)| lines.iter().cloned()).collect();
        lines.sort_by_key(|(come, _)| *come);
        let lines = lines.split_off(lines.len().saturating_sub(count));
        let lines = lines.into_iter().map(|(_, line)| line).collect();
        Tail { lines, coming: shared.follow.subscribe(), app: app.cloned() }
    }

    /// Forgets the lines of an app that is gone.
    pub(super) fn forget(&self, app: &AppName) {
        self.lock().lines.remove(app);
    }

    fn lock(&self) -> MutexGuard<'_, RecentOutputInner> {
        // The data under the lock is whole after every step, so that a panic leaves it usable.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines so far, and the lines to come.
pub(super) struct Tail {
    /// The lines so far, oldest first.
    lines: Vec<LogLine>,
    coming: broadcast::Receiver<LogLine>,
    app: Option<AppName>,
}

impl Tail {
    /// Hands the lines so far to `reader`, and with `follow` also those to come, until the reader or the supervisor is
    /// gone. A reader that falls far behind loses lines, the oldest first: no worker waits for it.
    pub(super) async fn pour(mut self, reader: mpsc::Sender<LogLine>, follow: bool) {
        for line in self.lines.drain(..) {
            if reader.send(line).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        loop {
            let line = tokio::select! {
                line = self.coming.recv() => line,
                () = reader.closed() => return,
            };
            match line {
                Ok(line) if self.app.as_ref().is_some_and(|app| *app != line.app) => {}
                Ok(line) => {
                    if reader.send(line).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// The number of lines that are kept of one app.
const KEPT: usize = 1000;
/// The number of lines that a follower may be behind.
const FOLLOWED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{GenerationId, WorkerId};

    fn line(app: &str, t: u64) -> LogLine {
        let app = AppName::parse(app).unwrap();
        LogLine { t, app, worker: WorkerId(1), generation: GenerationId(1), line: format!("line {t}") }
    }

    async fn times(mut lines: mpsc::Receiver<LogLine>) -> Vec<u64> {
        let mut read = Vec::new();
        while let Some(line) = lines.recv().await {
            read.push(line.t);
        }
        read
    }

    async fn read_all(tail: Tail) -> Vec<u64> {
        let (reader, lines) = mpsc::channel(4);
        let (read, ()) = tokio::join!(times(lines), tail.pour(reader, false));
        read
    }

    #[tokio::test]
    async fn lines_come_in_the_order_of_their_arrival_though_the_clock_was_set_back() {
        let output = RecentOutput::new();
        for line in [line("a", 9000), line("b", 9001), line("a", 1), line("b", 2)] {
            output.push(line);
        }
        assert_eq!(read_all(output.tail(None, 2)).await, [1, 2]);
    }

    #[tokio::test]
    async fn the_last_lines_of_all_apps_come_in_order_of_time() {
        let output = RecentOutput::new();
        for line in [line("a", 1), line("b", 2), line("a", 3), line("b", 4)] {
            output.push(line);
        }
        assert_eq!(read_all(output.tail(None, 3)).await, [2, 3, 4]);
        assert_eq!(read_all(output.tail(Some(&AppName::parse("a").unwrap()), 9)).await, [1, 3]);
        output.forget(&AppName::parse("a").unwrap());
        assert_eq!(read_all(output.tail(None, 9)).await, [2, 4]);
    }

    #[tokio::test]
    async fn a_chatty_app_pushes_nobody_elses_lines_out() {
        let output = RecentOutput::new();
        output.push(line("quiet", 0));
        for t in 1..3000 {
            output.push(line("chatty", t));
        }
        let kept = read_all(output.tail(None, usize::MAX)).await;
        assert_eq!((kept.len(), kept[0], kept[1]), (KEPT + 1, 0, 2000));
    }

    #[tokio::test]
    async fn who_follows_misses_nothing_and_reads_nothing_twice() {
        let output = RecentOutput::new();
        output.push(line("a", 1));
        let tail = output.tail(Some(&AppName::parse("a").unwrap()), 10);
        for line in [line("a", 2), line("b", 3), line("a", 4)] {
            output.push(line);
        }
        drop(output);

        let (reader, lines) = mpsc::channel(16);
        tail.pour(reader, true).await;

        assert_eq!(times(lines).await, [1, 2, 4]);
    }

    #[tokio::test]
    async fn following_ends_with_its_reader() {
        let output = RecentOutput::new();
        let (reader, lines) = mpsc::channel(16);
        drop(lines);
        output.tail(None, 0).pour(reader, true).await;
    }
}
