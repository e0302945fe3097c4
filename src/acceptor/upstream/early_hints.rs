//! Owns the links of a worker's 103 answers (RFC 8297) until the final one, which carries them: clients get no 103.
//!
//! Never here: reading heads (`worker_head`), or other interim answers.

use http::StatusCode;
use http::header::{HeaderValue, LINK};

use super::worker_head::AnswerHead;

/// The `Link` fields of the interim answers to one request.
#[derive(Default)]
pub(in crate::acceptor) struct EarlyHints(Vec<HeaderValue>);

impl EarlyHints {
    /// Takes the links of an interim answer, up to [`MOST`] in all.
    pub(in crate::acceptor) fn note(&mut self, interim: &AnswerHead) {
        if interim.status() == StatusCode::EARLY_HINTS {
            let free = MOST.saturating_sub(self.0.len());
            self.0.extend(interim.headers().get_all(LINK).iter().take(free).cloned());
        }
    }

    /// Adds the links to a successful answer, but for those that it has itself.
    pub(in crate::acceptor) fn add_to(self, answer: &mut AnswerHead) {
        if !answer.status().is_success() {
            return;
        }
        let headers = answer.reply.headers_mut();
        for link in self.0 {
            if !headers.get_all(LINK).iter().any(|own| *own == link) {
                headers.append(LINK, link);
            }
        }
    }
}

/// The most links that are kept: as many as one head might have fields.
const MOST: usize = 64;
