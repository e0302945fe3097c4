//! The request bodies of all clients that are still coming, and which of them is ended when another one finds no room.
//!
//! Never here: the bodies themselves (`collect`).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget::{Budget, Reservation};
use crate::name::ClientNet;
use crate::time::timer;

/// The client that sends a body; `None`: a trusted proxy, which did not say for whom.
type Owner = Option<ClientNet>;

#[derive(Debug)]
pub(in crate::acceptor) struct Uploads {
    /// The places for bodies that are coming.
    places: Budget,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    coming: BTreeMap<u64, Arc<UploadEntry>>,
    /// The places and bytes that each client's bodies hold, those that are to end left out; a client that holds nothing
    /// is not in the map.
    held: HashMap<Owner, Sums>,
    /// The places and bytes that bodies which are to end have not given back yet.
    leaving: Sums,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    places: u64,
    space: u64,
}

impl Sums {
    fn of(self, scarce: Scarce) -> u64 {
        match scarce {
            Scarce::Places => self.places,
            Scarce::Space => self.space,
        }
    }
}

impl All {
    /// Changes what an entry holds from `before` to `now`.
    fn change(&mut self, entry: &UploadEntry, before: Sums, now: Sums) {
        let over = entry.is_over();
        let sums = if over { &mut self.leaving } else { self.held.entry(entry.owner).or_default() };
        sums.places = (sums.places + now.places).saturating_sub(before.places);
        sums.space = (sums.space + now.space).saturating_sub(before.space);
        if !over && *sums == Sums::default() {
            self.held.remove(&entry.owner);
        }
    }
}

#[derive(Debug)]
struct UploadEntry {
    owner: Owner,
    /// Bytes reserved for the body on disk.
    spooled: AtomicU64,
    begun: Instant,
    /// Bytes of the body that have come.
    received: AtomicU64,
    over: AtomicBool,
    told: Notify,
}

/// The thing of which there is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Scarce {
    Places,
    /// Bytes of spool files.
    Space,
}

impl UploadEntry {
    /// Whether the body is to end, and has not given back yet what it holds.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The body's rate so far, in bytes a second.
    fn rate(&self, now: Instant) -> u64 {
        let lasted = now.saturating_duration_since(self.begun).as_millis();
        let millis = u64::try_from(lasted).unwrap_or(u64::MAX).max(1);
        self.received.load(Ordering::Relaxed).saturating_mul(1000) / millis
    }

    fn holds(&self) -> Sums {
        Sums { places: 1, space: self.spooled.load(Ordering::Relaxed) }
    }
}

impl Uploads {
    /// Starts without bodies. There is a place for each connection, and for the many streams of few connections.
    pub(in crate::acceptor) fn new(max_connections: usize) -> Self {
        let places = (max_connections as u64).saturating_mul(2).max(LEAST_PLACES);
        Self { places: Budget::new(places), all: Mutex::default() }
    }

    /// The places, and how many are taken.
    pub(in crate::acceptor) fn places(&self) -> &Budget {
        &self.places
    }

    /// Enters a body whose client has to be waited for; `None`: there are too many, and no other body is to be ended
    /// for it.
    pub(in crate::acceptor) async fn enter(&self, owner: Owner) -> Option<TrackedUpload<'_>> {
        let mut place = self.places.reserve(owner);
        if !self.take(&mut place, 1, owner, Scarce::Places).await {
            return None;
        }
        let entry = Arc::new(UploadEntry {
            owner,
            spooled: AtomicU64::new(0),
            begun: Instant::now(),
            received: AtomicU64::new(0),
            over: AtomicBool::new(false),
            told: Notify::new(),
        });
        let mut all = self.lock();
        let number = all.next;
        all.next += 1;
        all.change(&entry, Sums::default(), entry.holds());
        all.coming.insert(number, Arc::clone(&entry));
        Some(TrackedUpload { uploads: self, number, entry, _place: place })
    }

    /// Reserves `amount` of what is scarce, if need be after others have been ended for it.
    pub(in crate::acceptor) async fn take(
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
            // Sleeps until the ended upload may have given back what it holds.
            timer::sleep(ATTEMPT).await;
        }
        false
    }

    /// Ends the slowest body of the client that holds most, if that client holds at least twice what `owner` would hold
    /// with `more`. Ends none while bodies that are to end already hold as much. Returns whether something will become
    /// free.
    fn push_out(&self, owner: Owner, more: u64, scarce: Scarce) -> bool {
        let mut all = self.lock();
        if all.leaving.of(scarce) >= more {
            return true;
        }
        let own = all.held.get(&owner).map_or(0, |sums| sums.of(scarce));
        let by_sum = all.held.iter().map(|(owner, sums)| (*owner, sums.of(scarce)));
        let Some((most, held)) = by_sum.max_by_key(|(_, held)| *held) else { return false };
        if held < own.saturating_add(more).saturating_mul(2) {
            return false;
        }
        let now = Instant::now();
        let theirs = all.coming.values().filter(|entry| entry.owner == most && !entry.is_over());
        let theirs = theirs.filter(|entry| entry.holds().of(scarce) > 0);
        let Some(slowest) = theirs.min_by_key(|entry| entry.rate(now)).cloned() else { return false };
        let holds = slowest.holds();
        all.change(&slowest, holds, Sums::default());
        slowest.over.store(true, Ordering::Relaxed);
        all.change(&slowest, Sums::default(), holds);
        slowest.told.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // No code that runs under the lock panics.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that is coming. The guard is dropped when the body is complete or has failed.
#[derive(Debug)]
pub(in crate::acceptor) struct TrackedUpload<'a> {
    uploads: &'a Uploads,
    number: u64,
    entry: Arc<UploadEntry>,
    _place: Reservation,
}

impl TrackedUpload<'_> {
    /// Notes how many bytes have come, and how many are reserved on disk.
    pub(in crate::acceptor) fn note(&self, received: u64, spooled: u64) {
        self.entry.received.store(received, Ordering::Relaxed);
        let before = self.entry.holds();
        if before.space != spooled {
            let mut all = self.uploads.lock();
            self.entry.spooled.store(spooled, Ordering::Relaxed);
            all.change(&self.entry, before, self.entry.holds());
        }
    }

    /// Returns when the body is to end because another one needs its room.
    ///
    /// # Cancel safety
    /// Safe.
    pub(in crate::acceptor) async fn pushed_out(&self) {
        self.entry.told.notified().await;
    }
}

impl Drop for TrackedUpload<'_> {
    fn drop(&mut self) {
        let mut all = self.uploads.lock();
        all.coming.remove(&self.number);
        all.change(&self.entry, self.entry.holds(), Sums::default());
    }
}

/// The smallest number of places, for servers of few connections with many streams each.
const LEAST_PLACES: u64 = 1024;
/// How often room is looked for before an upload is refused.
const ATTEMPTS: u32 = 100;
const ATTEMPT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(last: u8) -> Owner {
        Some(ClientNet::of([10, 0, 0, last].into()))
    }

    async fn entered(uploads: &Uploads, last: u8, received: u64, spooled: u64) -> TrackedUpload<'_> {
        let upload = uploads.enter(owner(last)).await.unwrap();
        upload.note(received, spooled);
        upload
    }

    fn is_over(upload: &TrackedUpload<'_>) -> bool {
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
        assert_eq!(uploads.lock().held[&owner(1)], Sums { places: 2, space: 50 });
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
        let all = uploads.lock();
        assert!(all.coming.is_empty() && all.held.is_empty() && all.leaving == Sums::default());
        assert_eq!(uploads.places.held(), 0);
    }
}
