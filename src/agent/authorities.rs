//! Owns one attempt: the agent asks authorities one after the other, and tries an order out at a test authority first
//! where none has worked yet.
//!
//! Never here: when an attempt is made.

use std::time::Duration;

use tokio::time::timeout;

use super::authority::{Authority, IssuedPem, Suggested, Wish};
use super::failure::{Failure, FailureKind};

/// The authorities of the settings, in their order.
pub(super) struct Authorities<A> {
    list: Vec<Entry<A>>,
}

/// An authority, with the test authority that an order is tried out at first, if there is one.
pub(super) struct Entry<A> {
    pub(super) directory: String,
    pub(super) authority: A,
    pub(super) rehearsal: Option<A>,
}

/// How an attempt ended, and at which authority.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) result: Result<IssuedPem, Failure>,
    /// The failures at the authorities that were asked before.
    pub(super) others: Vec<Failure>,
}

impl<A: Authority> Authorities<A> {
    pub(super) fn new(list: Vec<Entry<A>>) -> Self {
        Self { list }
    }

    /// Asks the authorities at `places` one after the other until one has issued. With `rehearse`, an authority that
    /// has another one for trying things out is asked only when that one had no objection.
    pub(super) async fn issue(&self, wish: &Wish, places: &[usize], rehearse: bool) -> Attempted {
        let mut failures = Vec::new();
        for place in places {
            let Some(entry) = self.list.get(*place) else { continue };
            match entry.issue(wish, rehearse).await {
                Ok(issued) => return Attempted { result: Ok(issued), others: failures },
                Err(failure) => failures.push(Failure { authority: *place, ..failure }),
            }
        }
        let none =
            || Failure::new(FailureKind::Busy, "every authority wants to be left alone for the moment");
        let last = failures.pop().unwrap_or_else(none);
        Attempted { result: Err(last), others: failures }
    }

    /// When the authority with this directory wants a certificate of its own to be renewed.
    pub(super) async fn suggested(
        &self,
        directory: &str,
        chain: &[u8],
    ) -> Result<Option<Suggested>, Failure> {
        match self.list.iter().find(|entry| entry.directory == directory) {
            Some(entry) => entry.authority.suggested(chain).await,
            None => Ok(None),
        }
    }
}

impl<A: Authority> Entry<A> {
    async fn issue(&self, wish: &Wish, rehearse: bool) -> Result<IssuedPem, Failure> {
        if let Some(rehearsal) = self.rehearsal.as_ref().filter(|_| rehearse)
            && timeout(REHEARSAL_ANSWERS, rehearsal.answers()).await.is_ok_and(|answer| answer.is_ok())
        {
            let wish = Wish { replaces: None, ..wish.clone() };
            match rehearsal.issue(&wish).await {
                Err(failure) if !failure.kind.is_of_authority() => {
                    let text = format!("tried out at the authority's test server: {}", failure.text);
                    return Err(Failure { text, order_stays: false, ..failure });
                }
                _ => {}
            }
        }
        self.authority.issue(wish).await
    }
}

/// A test server that is silent for so long is passed over.
const REHEARSAL_ANSWERS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An authority that says what it is told to say.
    struct Scripted {
        says: Option<FailureKind>,
        silent: bool,
        asked: AtomicUsize,
    }

    impl Scripted {
        fn that(says: Option<FailureKind>) -> Self {
            Self { says, silent: false, asked: AtomicUsize::new(0) }
        }
    }

    impl Authority for Scripted {
        async fn answers(&self) -> Result<(), Failure> {
            if self.silent { std::future::pending().await } else { Ok(()) }
        }

        async fn issue(&self, _: &Wish) -> Result<IssuedPem, Failure> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.says {
                Some(kind) => Err(Failure::new(kind, "no")),
                None => Ok(IssuedPem { chain: String::new(), key: String::new(), by: String::new() }),
            }
        }

        async fn suggested(&self, _: &[u8]) -> Result<Option<Suggested>, Failure> {
            Ok(None)
        }
    }

    fn entry(authority: Scripted, rehearsal: Option<Scripted>) -> Entry<Scripted> {
        Entry { directory: "https://ca.example/dir".into(), authority, rehearsal }
    }

    fn wish() -> Wish {
        Wish { host: "a.example".parse().unwrap(), attempt: 1, replaces: None }
    }

    async fn tried(entries: Vec<Entry<Scripted>>, rehearse: bool) -> (bool, Vec<(usize, usize)>, usize) {
        let authorities = Authorities::new(entries);
        let places: Vec<usize> = (0..authorities.list.len()).collect();
        let attempted = authorities.issue(&wish(), &places, rehearse).await;
        let count = |authority: &Scripted| authority.asked.load(Ordering::Relaxed);
        let asked = authorities
            .list
            .iter()
            .map(|entry| (entry.rehearsal.as_ref().map_or(0, count), count(&entry.authority)));
        (attempted.result.is_ok(), asked.collect(), attempted.others.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_fails_in_the_try_out_is_not_asked_for_in_earnest() {
        let good = || Scripted::that(None);
        let bad = || Scripted::that(Some(FailureKind::Challenge));
        assert_eq!(tried(vec![entry(good(), Some(bad()))], true).await, (false, vec![(1, 0)], 0));
        assert_eq!(tried(vec![entry(good(), Some(bad()))], false).await, (true, vec![(0, 1)], 0));
        assert_eq!(tried(vec![entry(good(), Some(good()))], true).await, (true, vec![(1, 1)], 0));
        let down = Scripted::that(Some(FailureKind::Busy));
        assert_eq!(tried(vec![entry(good(), Some(down))], true).await, (true, vec![(1, 1)], 0));
        let silent = Scripted { silent: true, ..bad() };
        assert_eq!(tried(vec![entry(good(), Some(silent))], true).await, (true, vec![(0, 1)], 0));
    }

    #[tokio::test]
    async fn the_next_authority_is_asked_when_one_fails() {
        let down = || Scripted::that(Some(FailureKind::Unreachable));
        let good = Scripted::that(None);
        assert_eq!(
            tried(vec![entry(down(), None), entry(good, None)], false).await,
            (true, vec![(0, 1), (0, 1)], 1)
        );
        assert_eq!(
            tried(vec![entry(down(), None), entry(down(), None)], false).await,
            (false, vec![(0, 1), (0, 1)], 1)
        );
        assert_eq!(tried(vec![], false).await, (false, vec![], 0));
    }
}
