//! The records of one answer of a FastCGI worker: its standard error is the app's output, and its standard output
//! is the answer, up to the record that ends the request.
//!
//! Never here: what the output says (`fastcgi`), or the records as bytes (`crate::fastcgi`).

use std::io;
use std::sync::Arc;

use crate::fastcgi::records::{BadRecord, Records};
use crate::pool::Member;

/// The records of one answer.
pub(in crate::acceptor) struct AnswerRecords {
    records: Records,
    /// The worker that writes the answer.
    member: Arc<Member>,
    /// The beginning of a line of standard error.
    line: Vec<u8>,
    /// How many bytes of standard error may still be logged.
    left: usize,
}

impl AnswerRecords {
    pub(in crate::acceptor) fn new(member: &Arc<Member>) -> Self {
        let (records, member) = (Records::default(), Arc::clone(member));
        Self { records, member, line: Vec::new(), left: MOST_LOGGED }
    }

    /// Takes the records off the bytes behind `from`, and leaves the answer's bytes.
    ///
    /// # Errors
    /// `InvalidData`, with the [`BadRecord`] in it.
    pub(in crate::acceptor) fn unwrap(&mut self, bytes: &mut Vec<u8>, from: usize) -> io::Result<()> {
        let Self { records, member, line, left } = self;
        let unwrapped = records.unwrap(bytes, from, |mut said| {
            said = &said[..said.len().min(*left)];
            *left -= said.len();
            line.extend_from_slice(said);
            let mut begin = 0;
            for end in memchr::memchr_iter(b'\n', line) {
                log(member, &line[begin..end]);
                begin = end + 1;
            }
            line.drain(..begin);
        });
        unwrapped.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))
    }

    /// Whether the answer is complete: nothing more is read for it.
    pub(in crate::acceptor) fn is_over(&self) -> bool {
        self.records.is_over()
    }

    /// Whether nothing of the answer can be on its connection any more.
    pub(in crate::acceptor) fn leaves_nothing(&self) -> bool {
        self.records.is_over() && !self.records.goes_on()
    }

    /// Whether the worker has refused the request unread.
    pub(in crate::acceptor) fn is_refused(&self) -> bool {
        self.records.is_refused()
    }

    /// Whether no record has come yet.
    pub(in crate::acceptor) fn is_none(&self) -> bool {
        self.records.is_none()
    }
}

impl Drop for AnswerRecords {
    fn drop(&mut self) {
        log(&self.member, &self.line);
        if self.left == 0 {
            let Member { app, worker, .. } = &*self.member;
            tracing::warn!(%app, %worker, "what a request wrote to standard error is logged up to {MOST_LOGGED} bytes");
        }
    }
}

/// The fault of the records, if it caused the error of reading.
pub(in crate::acceptor) fn bad_record(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<BadRecord>().map(|bad| bad.0)
}

/// Logs a line as if the worker had written it to its own standard error.
fn log(member: &Member, line: &[u8]) {
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    if !line.is_empty()
        && let Err(line) = member.wrote(line.into_owned())
    {
        let Member { app, worker, generation, .. } = member;
        tracing::info!(target: "app", %app, %worker, %generation, "{line}");
    }
}

/// The most bytes of standard error that one request may have logged.
const MOST_LOGGED: usize = 64 << 10;
