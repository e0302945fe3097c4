//! The request bodies of all clients that are still coming, and which of them is ended when another one finds no room.
//!
//! Never here: the bodies themselves (`collect`).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::budget::{Budget, Reservation};
use crate::name::ClientNet;
use crate::timer;

/// Whose bodies they are: a client, or nobody knows whose.
type Owner = Option<ClientNet>;

/// All of the server's.
#[derive(Debug)]
pub(super) struct Uploads {
    /// How many there may be.
    places: Budget,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    coming: BTreeMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    /// Bytes that are reserved for it on disk.
    spooled: AtomicU64,
    /// Bytes a second, as of its last piece.
    rate: AtomicU64,
    over: AtomicBool,
    told: Notify,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scarce {
    Places,
    /// Bytes of spool files.
    Space,
}

impl Entry {
    /// Whether it is to end, and has not given back yet what it holds.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn holds(&self, scarce: Scarce) -> u64 {
        match scarce {
            Scarce::Places => 1,
            Scarce::Space => self.spooled.load(Ordering::Relaxed),
        }
    }
}

impl Uploads {
    /// None yet. Each connection may have one of its own, however many streams it has.
    pub(super) fn new(max_connections: usize) -> Self {
        let places = (max_connections as u64).saturating_mul(2).max(LEAST_PLACES);
        Self { places: Budget::new(places), all: Mutex::default() }
    }

    /// A body whose client has to be waited for; `None`: there are too many, and no other one is to be ended for it.
    pub(super) async fn enter(&self, owner: Owner) -> Option<Upload<'_>> {
        let mut place = self.places.reserve(owner);
        if !self.take(&mut place, 1, owner, Scarce::Places).await {
            return None;
        }
        let entry = Arc::new(Entry {
            owner,
            spooled: AtomicU64::new(0),
            rate: AtomicU64::new(u64::MAX),
            over: AtomicBool::new(false),
            told: Notify::new(),
        });
        let mut all = self.lock();
        let number = all.next;
        all.next += 1;
        all.coming.insert(number, Arc::clone(&entry));
        Some(Upload { uploads: self, number, entry, _place: place })
    }

    /// Takes `amount` of what is scarce, if need be once others have been ended for it.
    pub(super) async fn take(
        &self,
        reservation: &mut Reservation,
        amount: u64,
        owner: Owner,
        scarce: Scarce,
    ) -> bool {
        for _ in 0..ATTEMPTS {
            if reservation.grow_to(amount) {
                return true;
            }
            let more = amount.saturating_sub(reservation.amount());
            if !self.push_out(owner, more, scarce) {
                return false;
            }
            // Whoever was ended gives back what it has.
            timer::sleep(ATTEMPT).await;
        }
        false
    }

    /// Ends the slowest body of the client that holds most, if that is at least twice of what `owner` would hold with
    /// `more`, unless as much is on its way out already; returns whether there is hope.
    fn push_out(&self, owner: Owner, more: u64, scarce: Scarce) -> bool {
        let all = self.lock();
        let mut sums: HashMap<Owner, u64> = HashMap::new();
        let mut leaving = 0;
        for entry in all.coming.values() {
            let sum = if entry.is_over() { &mut leaving } else { sums.entry(entry.owner).or_default() };
            *sum += entry.holds(scarce);
        }
        if leaving >= more {
            return true;
        }
        let own = sums.get(&owner).copied().unwrap_or(0);
        let Some((most, held)) = sums.into_iter().max_by_key(|(_, held)| *held) else { return false };
        if held < own.saturating_add(more).saturating_mul(2) {
            return false;
        }
        let theirs = all.coming.values().filter(|entry| entry.owner == most && !entry.is_over());
        let theirs = theirs.filter(|entry| entry.holds(scarce) > 0);
        let Some(slowest) = theirs.min_by_key(|entry| entry.rate.load(Ordering::Relaxed)) else {
            return false;
        };
        slowest.over.store(true, Ordering::Relaxed);
        slowest.told.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Nothing panics under the lock.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the bodies. Dropping it: it is complete, or has failed.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    uploads: &'a Uploads,
    number: u64,
    entry: Arc<Entry>,
    _place: Reservation,
}

impl Upload<'_> {
    /// It has come at so many bytes a second, and so many bytes are reserved for it on disk.
    pub(super) fn note(&self, rate: u64, spooled: u64) {
        self.entry.rate.store(rate, Ordering::Relaxed);
        self.entry.spooled.store(spooled, Ordering::Relaxed);
    }

    /// Returns when it is to end because another one needs its room.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn pushed_out(&self) {
        self.entry.told.notified().await;
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.uploads.lock().coming.remove(&self.number);
    }
}

/// For servers of few connections, each with many streams.
const LEAST_PLACES: u64 = 1024;
/// How often room is looked for, and how long there is between two looks.
const ATTEMPTS: u32 = 100;
const ATTEMPT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(last: u8) -> Owner {
        Some(ClientNet::of([10, 0, 0, last].into()))
    }

    async fn entered(uploads: &Uploads, last: u8, rate: u64, spooled: u64) -> Upload<'_> {
        let upload = uploads.enter(owner(last)).await.unwrap();
        upload.note(rate, spooled);
        upload
    }

    fn is_over(upload: &Upload<'_>) -> bool {
        upload.entry.is_over()
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_of_the_client_that_holds_most_makes_room() {
        let uploads = Uploads::new(1);
        let fast = entered(&uploads, 1, 900, 50).await;
        let slow = entered(&uploads, 1, 20, 30).await;
        let other = entered(&uploads, 2, 1, 40).await;
        let never_spooled = entered(&uploads, 1, 0, 0).await;
        assert!(!uploads.push_out(owner(3), 41, Scarce::Space), "it would hold more than half of that");
        assert!(!uploads.push_out(owner(1), 1, Scarce::Space), "nobody is ended for one that holds most");
        assert!(uploads.push_out(owner(3), 40, Scarce::Space));
        assert_eq!([&fast, &slow, &other, &never_spooled].map(is_over), [false, true, false, false]);
        slow.pushed_out().await;
        assert!(uploads.push_out(owner(3), 30, Scarce::Space), "as much is on its way out");
        assert_eq!([&fast, &other].map(is_over), [false, false]);
        drop(slow);
        assert!(!uploads.push_out(owner(2), 5, Scarce::Space), "it would hold 45 of their 50");
        assert!(uploads.push_out(owner(3), 20, Scarce::Space));
        assert_eq!([&fast, &other].map(is_over), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_half_of_the_places_and_nobody_is_without() {
        let uploads = Uploads::new(1);
        let mut held = Vec::new();
        while let Some(upload) = uploads.enter(owner(1)).await {
            held.push(upload);
        }
        assert_eq!(held.len(), 512);
        for client in 2..60 {
            assert!(uploads.enter(owner(client)).await.is_some());
        }
        drop(held);
        assert!(uploads.lock().coming.is_empty());
        assert_eq!(uploads.places.held(), 0);
    }
}
