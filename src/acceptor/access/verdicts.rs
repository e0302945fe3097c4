//! Owns the verdicts on passwords: whether a password belongs to a hash, which never changes.
//!
//! A verdict is kept under a keyed hash of all that it depends on: the name, the hash and the password. A user whose
//! hash has changed is checked anew, and no password can be read out of what is kept. Never here: checking a password.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};

/// Verdicts on the passwords that were shown lately.
pub(in crate::acceptor) struct Verdicts {
    /// The key of the marks, which only this process knows.
    key: Key,
    /// The verdicts; the locks are held to look one up or to note one. Right passwords have a set of their own, so that
    /// no guess takes their places.
    right: Mutex<RecentMarks>,
    wrong: Mutex<RecentMarks>,
}

/// The mark under which a verdict is kept.
pub(in crate::acceptor) type VerdictMark = [u8; 32];

impl Verdicts {
    /// Starts without verdicts.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(in crate::acceptor) fn new() -> io::Result<Self> {
        let mut secret = VerdictMark::default();
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(Self { key: Key::new(HMAC_SHA256, &secret), right: Mutex::default(), wrong: Mutex::default() })
    }

    /// The mark of the verdict on a name, a hash and a password.
    pub(in crate::acceptor) fn mark(&self, parts: [&[u8]; 3]) -> VerdictMark {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut mark = VerdictMark::default();
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    /// The verdict under a mark, if it was noted lately.
    pub(in crate::acceptor) fn known(&self, mark: &VerdictMark) -> Option<bool> {
        let has = |marks: &Mutex<RecentMarks>| marks.lock().unwrap_or_else(PoisonError::into_inner).has(mark);
        if has(&self.right) { Some(true) } else { has(&self.wrong).then_some(false) }
    }

    pub(in crate::acceptor) fn note(&self, mark: VerdictMark, is_right: bool) {
        let marks = if is_right { &self.right } else { &self.wrong };
        marks.lock().unwrap_or_else(PoisonError::into_inner).add(mark);
    }
}

/// The last `MOST` marks that were asked for or added, and at most as many again.
#[derive(Default)]
struct RecentMarks {
    now: HashSet<VerdictMark>,
    before: HashSet<VerdictMark>,
}

impl RecentMarks {
    fn has(&mut self, mark: &VerdictMark) -> bool {
        if self.now.contains(mark) {
            return true;
        }
        let was_there = self.before.remove(mark);
        if was_there {
            self.add(*mark);
        }
        was_there
    }

    fn add(&mut self, mark: VerdictMark) {
        if self.now.len() >= MOST {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(mark);
    }
}

const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_of_one_name_one_hash_and_one_password() {
        let verdicts = Verdicts::new().unwrap();
        let parts: [[&[u8]; 3]; 4] =
            [[b"anna", b"h", b"pw"], [b"ann", b"ah", b"pw"], [b"anna", b"i", b"pw"], [b"anna", b"h", b"p"]];
        verdicts.note(verdicts.mark(parts[0]), true);
        verdicts.note(verdicts.mark(parts[3]), false);
        let known = parts.map(|parts| verdicts.known(&verdicts.mark(parts)));
        assert_eq!(known, [Some(true), None, None, Some(false)]);
        let other = Verdicts::new().unwrap();
        assert_ne!(other.mark(parts[0]), verdicts.mark(parts[0]), "another process has another key");
    }

    #[test]
    fn guesses_push_out_other_guesses_and_never_who_is_right() {
        let verdicts = Verdicts::new().unwrap();
        let mark = |number: usize| verdicts.mark([b"anna", b"h", &number.to_le_bytes()]);
        verdicts.note(mark(0), true);
        for number in 1..=3 * MOST {
            verdicts.note(mark(number), false);
            assert_eq!(verdicts.known(&mark(1)), Some(false), "what is asked for stays");
        }
        assert_eq!((verdicts.known(&mark(0)), verdicts.known(&mark(2))), (Some(true), None));
        let wrong = verdicts.wrong.lock().unwrap();
        assert!(wrong.now.len() + wrong.before.len() <= 2 * MOST);
    }
}
