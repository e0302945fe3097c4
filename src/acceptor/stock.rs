//! Room to read answers into, used again and again: what one answer leaves behind is warm for the next.
//!
//! Never here: what is read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::timer;

/// The room of one thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    /// Pieces may end on a thread that writes a spool file: hence the lock, which is held for a push or a pop.
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Stock {
    /// An empty piece of [`READ`] bytes.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(READ))
    }

    /// What a piece was filled with. Little is copied, so that an answer's few bytes do not hold a whole piece while
    /// a slow client reads them.
    pub(super) fn filled(&self, piece: Vec<u8>) -> Bytes {
        if piece.len() <= LITTLE {
            let bytes = Bytes::copy_from_slice(&piece);
            self.give_back(piece);
            return bytes;
        }
        Bytes::from_owner(Filled { piece, stock: self.clone() })
    }

    /// Lets go of what is not used, slowly, for ever.
    pub(super) async fn sweep(&self) {
        loop {
            timer::sleep(SWEEP).await;
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = free.len().min(KEPT_AT_REST).max(free.len() / 2);
            free.truncate(kept);
        }
    }

    /// A piece that was not needed.
    pub(super) fn give_back(&self, mut piece: Vec<u8>) {
        piece.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(piece);
        }
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
        self.stock.give_back(std::mem::take(&mut self.piece));
    }
}

/// How much is read from a worker at a time: a little more than a Unix socket holds.
pub(super) const READ: usize = 256 << 10;
/// Up to here, copying costs less than what it saves.
const LITTLE: usize = 8 << 10;
/// Pieces that are kept, at most.
const KEPT: usize = 64;
/// Pieces that are kept when there is nothing to do.
const KEPT_AT_REST: usize = 8;
const SWEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(stock: &Stock) -> usize {
        stock.free.lock().unwrap().len()
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
}
