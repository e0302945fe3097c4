//! Finds out whether the requests of a thread come one at a time.
//!
//! A request that is alone is sent to its worker at once, because waiting in the write batch would cost a turn of the
//! event loop. A request that only happens to be alone is not: the next one may be sent together with it. Never here:
//! sending.

use std::cell::Cell;

/// Counts the requests that wait for their answers, and how many in a row were alone.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct SoleRequest {
    waiting: Cell<u32>,
    /// How many requests in a row have begun while no other one waited.
    alone: Cell<u32>,
}

impl SoleRequest {
    /// Notes that a worker gets a request; [`end`](Self::end) has to be called once for each.
    pub(in crate::acceptor) fn begin(&self) {
        let others = self.waiting.get();
        self.alone.set(if others == 0 { self.alone.get().saturating_add(1) } else { 0 });
        self.waiting.set(others + 1);
    }

    /// Notes that an answer has begun, or that nobody waits for it any more.
    pub(in crate::acceptor) fn end(&self) {
        self.waiting.update(|count| count - 1);
    }

    /// Whether the request that began last is likely to be the only one.
    pub(in crate::acceptor) fn is_likely(&self) -> bool {
        self.alone.get() > ENOUGH
    }
}

/// The number of lone requests in a row after which a request counts as the only one: so many are hardly ever alone
/// where others come now and then.
const ENOUGH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(sole_request: &SoleRequest, times: u32) {
        for _ in 0..times {
            sole_request.begin();
            sole_request.end();
        }
    }

    #[test]
    fn those_that_came_alone_for_a_while_are_alone() {
        let sole_request = SoleRequest::default();
        alone(&sole_request, ENOUGH);
        assert!(!sole_request.is_likely());
        alone(&sole_request, 1);
        assert!(sole_request.is_likely());
    }

    #[test]
    fn one_that_comes_beside_another_ends_it() {
        let sole_request = SoleRequest::default();
        alone(&sole_request, 2 * ENOUGH);
        sole_request.begin();
        assert!(sole_request.is_likely());
        sole_request.begin();
        assert!(!sole_request.is_likely());
        sole_request.end();
        sole_request.end();
        alone(&sole_request, ENOUGH);
        assert!(!sole_request.is_likely(), "it has to show again");
        alone(&sole_request, 1);
        assert!(sole_request.is_likely());
    }
}
