//! Room to read answers into, used again and again: what one answer leaves behind is warm for the next.
//!
//! Never here: what is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::time::timer;

/// The room of one thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::acceptor) struct Stock {
    /// Pieces may end on a thread that writes a spool file: hence the lock, which is held for a push or a pop.
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Vec<u8>>,
    /// Pieces in use: each holds [`READ`] bytes, however few of them it was filled with.
    filled: usize,
    /// Pieces that were always free since the last sweep.
    unneeded: usize,
}

impl Stock {
    /// An empty piece of [`READ`] bytes.
    pub(in crate::acceptor) fn take(&self) -> Vec<u8> {
        let mut shelf = self.lock();
        let piece = shelf.free.pop();
        shelf.unneeded = shelf.unneeded.min(shelf.free.len());
        piece.unwrap_or_else(|| Vec::with_capacity(READ))
    }

    /// What a piece was filled with. Little is copied, so that an answer's few bytes do not hold a whole piece while
    /// a slow client reads them; and whatever leaves much of a piece empty, while many pieces are in use.
    pub(in crate::acceptor) fn filled(&self, piece: Vec<u8>) -> Bytes {
        if piece.len() <= LITTLE || !self.may_be_used(&piece) {
            let bytes = Bytes::copy_from_slice(&piece);
            self.give_back(piece);
            return bytes;
        }
        Bytes::from_owner(Filled { piece, stock: self.clone() })
    }

    /// Counts the piece as in use, if it may be.
    fn may_be_used(&self, piece: &[u8]) -> bool {
        let mut shelf = self.lock();
        if shelf.filled >= MANY && piece.len() <= FULL {
            return false;
        }
        shelf.filled += 1;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what is not used, slowly, for ever.
    pub(in crate::acceptor) async fn sweep(&self) {
        loop {
            timer::sleep(SWEEP).await;
            self.lock().sweep();
        }
    }

    /// A piece that was not needed.
    pub(in crate::acceptor) fn give_back(&self, mut piece: Vec<u8>) {
        piece.clear();
        let mut shelf = self.lock();
        if shelf.free.len() < KEPT {
            shelf.free.push(piece);
        }
    }
}

impl Shelf {
    /// Lets go of half of what was not needed since the last sweep, and of the last one.
    fn sweep(&mut self) {
        self.free.truncate(self.free.len() - self.unneeded.div_ceil(2));
        self.unneeded = self.free.len();
    }
}

/// A piece in use; it goes back when the last of its bytes is dropped.
struct Filled {
    piece: Vec<u8>,
    stock: Stock,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.stock.lock().filled -= 1;
        self.stock.give_back(std::mem::take(&mut self.piece));
    }
}

/// How much is read from a worker at a time: a little more than a Unix socket holds.
pub(in crate::acceptor) const READ: usize = 256 << 10;
/// Up to here, copying costs less than what it saves.
const LITTLE: usize = 8 << 10;
/// Pieces that are kept, at most.
const KEPT: usize = 64;
/// Beyond so many pieces in use, a piece is used only if it has more than [`FULL`] bytes.
const MANY: usize = 32;
const FULL: usize = READ / 8 * 7;
const SWEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(stock: &Stock) -> usize {
        stock.lock().free.len()
    }

    #[test]
    fn a_piece_comes_back_when_its_last_byte_is_dropped() {
        let stock = Stock::default();
        let mut piece = stock.take();
        piece.resize(LITTLE + 1, 7);
        let mut bytes = stock.filled(piece);
        let part = bytes.split_to(10);
        drop(bytes);
        assert_eq!(kept(&stock), 0);
        drop(part);
        assert_eq!(kept(&stock), 1);
        assert!(stock.take().is_empty());
    }

    #[test]
    fn few_bytes_do_not_hold_a_piece() {
        let stock = Stock::default();
        let mut piece = stock.take();
        piece.extend_from_slice(b"ok");
        let bytes = stock.filled(piece);
        assert_eq!(kept(&stock), 1);
        assert_eq!(bytes, "ok");
    }

    #[test]
    fn while_many_pieces_are_in_use_those_that_are_not_full_are_not_held() {
        let stock = Stock::default();
        let fill = |length| {
            let mut piece = stock.take();
            piece.resize(length, 7);
            stock.filled(piece)
        };
        let mut held: Vec<_> = (0..MANY + 10).map(|_| fill(FULL)).collect();
        let in_use = || stock.lock().filled;
        assert_eq!(in_use(), MANY);
        held.push(fill(FULL + 1));
        assert_eq!(in_use(), MANY + 1);
        drop(held);
        assert_eq!((in_use(), kept(&stock)), (0, MANY + 1));
    }

    #[test]
    fn nothing_is_kept_that_was_not_needed_for_a_while() {
        let stock = Stock::default();
        let pieces: Vec<_> = (0..KEPT).map(|_| stock.take()).collect();
        pieces.into_iter().for_each(|piece| stock.give_back(piece));
        let after: Vec<_> = (0..8)
            .map(|_| {
                stock.lock().sweep();
                kept(&stock)
            })
            .collect();
        assert_eq!(after, [KEPT, 32, 16, 8, 4, 2, 1, 0]);
    }

    #[test]
    fn as_many_are_kept_as_were_needed_at_a_time() {
        let stock = Stock::default();
        let pieces: Vec<_> = (0..KEPT).map(|_| stock.take()).collect();
        pieces.into_iter().for_each(|piece| stock.give_back(piece));
        for _ in 0..20 {
            let pieces: Vec<_> = (0..3).map(|_| stock.take()).collect();
            pieces.into_iter().for_each(|piece| stock.give_back(piece));
            stock.lock().sweep();
        }
        assert_eq!(kept(&stock), 3);
    }
}
