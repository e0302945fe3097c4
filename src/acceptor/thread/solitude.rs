//! Whether the requests of a thread come one at a time.
//!
//! A request that is alone is sent to its worker at once: to wait for company in the outbox costs a turn of the event
//! loop. One that only happens to be alone is not: the next may be sent together with it. Never here: sending.

use std::cell::Cell;

/// Counts the requests that wait for their answers, and how long it has been one at a time.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct Solitude {
    waiting: Cell<u32>,
    /// So many requests in a row found no other one waiting.
    alone: Cell<u32>,
}

impl Solitude {
    /// A worker gets one. Each is to be [`end`](Self::end)ed.
    pub(in crate::acceptor) fn begin(&self) {
        let others = self.waiting.get();
        self.alone.set(if others == 0 { self.alone.get().saturating_add(1) } else { 0 });
        self.waiting.set(others + 1);
    }

    /// The answer to one has begun, or nobody waits for it any more.
    pub(in crate::acceptor) fn end(&self) {
        self.waiting.update(|count| count - 1);
    }

    /// Whether the one that began last can be taken for one that no other comes with.
    pub(in crate::acceptor) fn is_likely(&self) -> bool {
        self.alone.get() > ENOUGH
    }
}

/// Where others come now and then, hardly ever so many come alone in a row.
const ENOUGH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(solitude: &Solitude, times: u32) {
        for _ in 0..times {
            solitude.begin();
            solitude.end();
        }
    }

    #[test]
    fn those_that_came_alone_for_a_while_are_alone() {
        let solitude = Solitude::default();
        alone(&solitude, ENOUGH);
        assert!(!solitude.is_likely());
        alone(&solitude, 1);
        assert!(solitude.is_likely());
    }

    #[test]
    fn one_that_comes_beside_another_ends_it() {
        let solitude = Solitude::default();
        alone(&solitude, 2 * ENOUGH);
        solitude.begin();
        assert!(solitude.is_likely());
        solitude.begin();
        assert!(!solitude.is_likely());
        solitude.end();
        solitude.end();
        alone(&solitude, ENOUGH);
        assert!(!solitude.is_likely(), "it has to show again");
        alone(&solitude, 1);
        assert!(solitude.is_likely());
    }
}
