//! Memory that large request bodies share: a body that finds room here needs no spool file.
//!
//! Never here: what a body is, or where it goes when there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all bodies together may take. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Room {
    left: Arc<AtomicUsize>,
    /// So that no single body takes it all.
    most: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), most: bytes / SHARES }
    }

    /// Room for nothing yet.
    pub(super) fn part(&self) -> Part {
        Part { room: self.clone(), bytes: 0 }
    }
}

/// What one body has taken. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Part {
    room: Room,
    bytes: usize,
}

impl Part {
    /// Takes as much more as makes it `bytes`; false, and nothing changes, when there is no such room.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let take = |left: usize| left.checked_sub(more);
        let fits = bytes <= self.room.most
            && self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// A body takes at most one of so many.
const SHARES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_comes_back() {
        let room = Room::new(SHARES * 10);
        let mut parts: Vec<_> = (0..SHARES).map(|_| room.part()).collect();
        assert!(parts.iter_mut().all(|part| part.grow_to(4) && part.grow_to(10)));
        let mut late = room.part();
        assert!(!late.grow_to(1));
        drop(parts.pop());
        assert!(late.grow_to(10));
    }

    #[test]
    fn no_body_takes_it_all() {
        let room = Room::new(SHARES * 10);
        assert!(!room.part().grow_to(11));
        assert!(room.part().grow_to(10));
    }

    #[test]
    fn no_room_is_no_room() {
        assert!(!Room::new(0).part().grow_to(1));
    }
}
