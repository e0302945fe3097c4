//! The memory of a head, or of a TLS handshake, that is large: it is counted by client, from [`UNCOUNTED`] bytes on,
//! until the request is answered.
//!
//! Never here: what is refused when there is none left.

use crate::budget::Reservation;

/// The memory that the head of one connection, or of one request, takes from the budget of all heads.
#[derive(Debug)]
pub(in crate::acceptor) struct HeadMemory(Reservation);

impl HeadMemory {
    /// `nothing`: a reservation of nothing, in the budget of all heads.
    pub(in crate::acceptor) fn new(nothing: Reservation) -> Self {
        Self(nothing)
    }

    /// Reserves memory for so many bytes of a head, and for the buffer that they are read into; false when there is
    /// none.
    pub(in crate::acceptor) fn holds(&mut self, bytes: usize) -> bool {
        bytes <= UNCOUNTED || self.0.grow_to((bytes as u64).saturating_mul(2).next_multiple_of(STEP))
    }

    /// Gives all memory back.
    pub(in crate::acceptor) fn release(&mut self) {
        self.0.shrink_to(0);
    }
}

/// The most bytes of all heads together.
pub(in crate::acceptor) const MOST_HEADS: u64 = 64 << 20;
/// The size up to which a head is not counted, because the number of connections is limited.
const UNCOUNTED: usize = 4 << 10;
const STEP: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use crate::budget::Budget;
    use crate::name::ClientNet;

    use super::*;

    #[test]
    fn large_heads_of_a_client_take_half_of_it_and_small_ones_nothing() {
        let budget = Budget::new(128 << 10);
        let head = |last| HeadMemory::new(budget.reserve(Some(ClientNet::of([10, 0, 0, last].into()))));
        let (mut small, mut large, mut another) = (head(1), head(1), head(1));
        assert!(small.holds(UNCOUNTED) && budget.held() == 0);
        assert!(large.holds(UNCOUNTED + 1) && budget.held() == 16 << 10);
        assert!(large.holds(32 << 10) && budget.held() == 64 << 10);
        assert!(!another.holds(UNCOUNTED + 1) && head(2).holds(24 << 10));
        large.release();
        assert!(another.holds(32 << 10) && budget.held() == 64 << 10);
    }
}
