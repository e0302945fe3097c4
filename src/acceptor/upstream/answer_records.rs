//! The records of one answer of a FastCGI worker: what it writes to standard error is logged as the app's, its standard
//! output is what the rest of the server reads, up to the record that ends the request.
//!
//! Never here: what the output says (`fastcgi`), or the records as bytes (`crate::fastcgi`).

use std::io;
use std::sync::Arc;

use crate::fastcgi::records::{BadRecord, Records};
use crate::pool::Member;

/// The records of one answer.
pub(in crate::acceptor) struct AnswerRecords {
    records: Records,
    /// Who writes it.
    member: Arc<Member>,
    /// A line of standard error that has no end yet.
    line: Vec<u8>,
    /// How much of it is logged still.
    left: usize,
}

impl AnswerRecords {
    pub(in crate::acceptor) fn new(member: &Arc<Member>) -> Self {
        let (records, member) = (Records::default(), Arc::clone(member));
        Self { records, member, line: Vec::new(), left: MOST_LOGGED }
    }

    /// Takes the records off what was read behind `from`.
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

    /// Whether nothing of it can be on its connection any more.
    pub(in crate::acceptor) fn leaves_nothing(&self) -> bool {
        self.records.is_over() && !self.records.goes_on()
    }

    /// Whether the worker has refused the request unread.
    pub(in crate::acceptor) fn is_refused(&self) -> bool {
        self.records.is_refused()
    }

    /// Whether no record has come.
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

/// What is wrong with the records, if that is what an error of reading is about.
pub(in crate::acceptor) fn bad_record(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<BadRecord>().map(|bad| bad.0)
}

/// As lines that workers write to their own standard error.
fn log(member: &Member, line: &[u8]) {
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    if !line.is_empty() {
        let Member { app, worker, generation, .. } = member;
        tracing::info!(target: "app", %app, %worker, %generation, "{line}");
    }
}

/// Bytes that one request may have logged.
const MOST_LOGGED: usize = 64 << 10;
