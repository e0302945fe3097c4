//! Buffers that answers are read into. A buffer goes back into the pool with its last byte, and is still in the core's
//! cache for the next answer.
//!
//! Never here: what is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::time::timer;

/// The buffers of one thread. Cheap to clone; all clones are the same pool.
#[derive(Clone, Debug, Default)]
pub(in crate::acceptor) struct BufferPool {
    /// The free buffers. Pieces may be dropped on a thread that writes a spool file, hence the lock; it is held for a
    /// push or a pop.
    shelf: Arc<Mutex<FreeBuffers>>,
}

#[derive(Debug, Default)]
struct FreeBuffers {
    free: Vec<Vec<u8>>,
    /// Pieces in use; each holds [`READ`] bytes, however few of them were filled.
    filled: usize,
    /// The fewest pieces that were free at the same time since the last sweep.
    unneeded: usize,
}

impl BufferPool {
    /// Takes an empty piece of [`READ`] bytes.
    pub(in crate::acceptor) fn take(&self) -> Vec<u8> {
        let mut shelf = self.lock();
        let piece = shelf.free.pop();
        shelf.unneeded = shelf.unneeded.min(shelf.free.len());
        piece.unwrap_or_else(|| Vec::with_capacity(READ))
    }

    /// Returns the bytes that a piece was filled with. A few bytes are copied, so that they do not hold a whole piece
    /// while a slow client reads them. While many pieces are in use, the bytes of a piece that is not [`FULL`] are
    /// copied, too.
    pub(in crate::acceptor) fn filled(&self, piece: Vec<u8>) -> Bytes {
        if piece.len() <= LITTLE || !self.may_be_used(&piece) {
            let bytes = Bytes::copy_from_slice(&piece);
            self.give_back(piece);
            return bytes;
        }
        Bytes::from_owner(PooledBytes { piece, buffers: self.clone() })
    }

    /// Counts the piece as in use, if it may be used.
    fn may_be_used(&self, piece: &[u8]) -> bool {
        let mut shelf = self.lock();
        if shelf.filled >= MANY && piece.len() <= FULL {
            return false;
        }
        shelf.filled += 1;
        true
    }

    fn lock(&self) -> MutexGuard<'_, FreeBuffers> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees half of the unused buffers every [`SWEEP`], for as long as the future is polled.
    pub(in crate::acceptor) async fn sweep(&self) {
        loop {
            timer::sleep(SWEEP).await;
            self.lock().sweep();
        }
    }

    /// Takes a piece back.
    pub(in crate::acceptor) fn give_back(&self, mut piece: Vec<u8>) {
        piece.clear();
        let mut shelf = self.lock();
        if shelf.free.len() < KEPT {
            shelf.free.push(piece);
        }
    }
}

impl FreeBuffers {
    /// Frees half of the buffers that were not needed since the last sweep, rounded up.
    fn sweep(&mut self) {
        self.free.truncate(self.free.len() - self.unneeded.div_ceil(2));
        self.unneeded = self.free.len();
    }
}

/// A piece in use, which goes back to the pool when the last of its bytes is dropped.
struct PooledBytes {
    piece: Vec<u8>,
    buffers: BufferPool,
}

impl AsRef<[u8]> for PooledBytes {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for PooledBytes {
    fn drop(&mut self) {
        self.buffers.lock().filled -= 1;
        self.buffers.give_back(std::mem::take(&mut self.piece));
    }
}

/// The bytes that are read from a worker at a time: a little more than a Unix socket holds.
pub(in crate::acceptor) const READ: usize = 256 << 10;
/// Up to so many bytes, copying costs less than a piece in use.
const LITTLE: usize = 8 << 10;
/// The most pieces that are kept.
const KEPT: usize = 64;
/// The number of pieces in use from which a further piece is used only if it has more than [`FULL`] bytes.
const MANY: usize = 32;
const FULL: usize = READ / 8 * 5;
const SWEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buffers: &BufferPool) -> usize {
        buffers.lock().free.len()
    }

    #[test]
    fn a_piece_comes_back_when_its_last_byte_is_dropped() {
        let buffers = BufferPool::default();
        let mut piece = buffers.take();
        piece.resize(LITTLE + 1, 7);
        let mut bytes = buffers.filled(piece);
        let part = bytes.split_to(10);
        drop(bytes);
        assert_eq!(kept(&buffers), 0);
        drop(part);
        assert_eq!(kept(&buffers), 1);
        assert!(buffers.take().is_empty());
    }

    #[test]
    fn few_bytes_do_not_hold_a_piece() {
        let buffers = BufferPool::default();
        let mut piece = buffers.take();
        piece.extend_from_slice(b"ok");
        let bytes = buffers.filled(piece);
        assert_eq!(kept(&buffers), 1);
        assert_eq!(bytes, "ok");
    }

    #[test]
    fn while_many_pieces_are_in_use_those_that_are_not_full_are_not_held() {
        let buffers = BufferPool::default();
        let fill = |length| {
            let mut piece = buffers.take();
            piece.resize(length, 7);
            buffers.filled(piece)
        };
        let mut held: Vec<_> = (0..MANY + 10).map(|_| fill(FULL)).collect();
        let in_use = || buffers.lock().filled;
        assert_eq!(in_use(), MANY);
        held.push(fill(FULL + 1));
        assert_eq!(in_use(), MANY + 1);
        drop(held);
        assert_eq!((in_use(), kept(&buffers)), (0, MANY + 1));
    }

    #[test]
    fn nothing_is_kept_that_was_not_needed_for_a_while() {
        let buffers = BufferPool::default();
        let pieces: Vec<_> = (0..KEPT).map(|_| buffers.take()).collect();
        pieces.into_iter().for_each(|piece| buffers.give_back(piece));
        let after: Vec<_> = (0..8)
            .map(|_| {
                buffers.lock().sweep();
                kept(&buffers)
            })
            .collect();
        assert_eq!(after, [KEPT, 32, 16, 8, 4, 2, 1, 0]);
    }

    #[test]
    fn as_many_are_kept_as_were_needed_at_a_time() {
        let buffers = BufferPool::default();
        let pieces: Vec<_> = (0..KEPT).map(|_| buffers.take()).collect();
        pieces.into_iter().for_each(|piece| buffers.give_back(piece));
        for _ in 0..20 {
            let pieces: Vec<_> = (0..3).map(|_| buffers.take()).collect();
            pieces.into_iter().for_each(|piece| buffers.give_back(piece));
            buffers.lock().sweep();
        }
        assert_eq!(kept(&buffers), 3);
    }
}
