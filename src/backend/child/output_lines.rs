//! Owns what a worker writes: bytes of its pipe become lines of bounded length and then events.
//!
//! Never here: a worker that waits because nobody reads. When the channel of events is full, lines are dropped and
//! counted, and the next line that fits is preceded by one that says how many.

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::backend::WorkerEvent;
use crate::name::WorkerId;

/// Reads a worker's output until nobody can write to it any more.
pub(super) async fn pump(mut output: pipe::Receiver, worker: WorkerId, events: mpsc::Sender<WorkerEvent>) {
    let mut sink = LineSink { worker, events, dropped: 0 };
    let mut lines = Lines::default();
    let mut bytes = vec![0; MAX_LINE];
    // A pipe that cannot be read counts as ended.
    while let Ok(count @ 1..) = output.read(&mut bytes).await {
        lines.push(&bytes[..count], |line| sink.offer(line));
    }
    lines.finish(|line| sink.offer(line));
}

struct LineSink {
    worker: WorkerId,
    events: mpsc::Sender<WorkerEvent>,
    dropped: u64,
}

impl LineSink {
    fn offer(&mut self, line: String) {
        if self.dropped > 0 {
            let notice = format!("[{} lines of output were dropped]", self.dropped);
            if self.events.try_send(WorkerEvent::Output(self.worker, notice)).is_ok() {
                self.dropped = 0;
            }
        }
        if let Err(TrySendError::Full(_)) = self.events.try_send(WorkerEvent::Output(self.worker, line)) {
            self.dropped += 1;
        }
    }
}

/// Cuts bytes into lines of at most [`MAX_LINE`] bytes; bytes that are not UTF-8 become U+FFFD.
#[derive(Default)]
pub(in crate::backend) struct Lines {
    /// The line that has no end yet; always shorter than [`MAX_LINE`] plus one push.
    open: Vec<u8>,
}

impl Lines {
    pub(in crate::backend) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        self.open.extend_from_slice(bytes);
        let mut rest = self.open.as_slice();
        loop {
            let window = &rest[..rest.len().min(MAX_LINE + 1)];
            if let Some(end) = memchr::memchr(b'\n', window) {
                emit(text(&rest[..end]));
                rest = &rest[end + 1..];
            } else if rest.len() > MAX_LINE {
                let (line, tail) = rest.split_at(whole_chars(rest, MAX_LINE));
                emit(text(line));
                rest = tail;
            } else {
                break;
            }
        }
        self.open = rest.to_vec();
    }

    pub(in crate::backend) fn finish(&mut self, mut emit: impl FnMut(String)) {
        if !self.open.is_empty() {
            emit(text(&self.open));
            self.open.clear();
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// The longest prefix of at most `limit` bytes that ends no character in its middle.
fn whole_chars(bytes: &[u8], limit: usize) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (limit.saturating_sub(3)..=limit).rev().find(|at| !continues(*at)).unwrap_or(limit)
}

const MAX_LINE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pushes: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for bytes in pushes {
            lines.push(bytes, |line| seen.push(line));
        }
        lines.finish(|line| seen.push(line));
        seen
    }

    #[test]
    fn lines_are_cut_at_newlines_wherever_reads_end() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n", b"\nlast"]), ["one", "two", "", "last"]);
        assert_eq!(lines(&[b""]), [""; 0]);
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "é".repeat(MAX_LINE);
        let odd = format!("x{long}\n");

        assert_eq!(lines(&[odd.as_bytes()]).concat(), format!("x{long}"));
        assert_eq!(lines(&[odd.as_bytes()])[0].len(), MAX_LINE - 1);
        let full = format!("{}\n", "y".repeat(MAX_LINE));
        assert_eq!(lines(&[full.as_bytes()]).len(), 1);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(lines(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
        assert_eq!(lines(&[&[0x80; MAX_LINE + 9]]).len(), 2);
    }

    #[test]
    fn dropped_lines_are_counted_and_told() {
        let (events, mut received) = mpsc::channel(2);
        let worker = WorkerId(1);
        let mut sink = LineSink { worker, events, dropped: 0 };
        let mut next = || match received.try_recv() {
            Ok(WorkerEvent::Output(_, line)) => line,
            other => panic!("{other:?}"),
        };

        for line in ["one", "two", "three", "four"] {
            sink.offer(line.into());
        }
        assert_eq!([next(), next()], ["one", "two"]);
        sink.offer("five".into());

        assert_eq!([next(), next()], ["[2 lines of output were dropped]", "five"]);
    }
}
