//! Owns the keys of session tickets: the keys are made, rotated, and handed to systemd to keep, so that a restart of
//! the service costs no client a full handshake.
//!
//! A key opens the sessions of its tickets to everybody who has it, so that keys live only as long as their tickets,
//! leave this process only for systemd's descriptor store, and are in no file and no log. Never here: what is in a
//! ticket (rustls), or handing the keys over (`system`).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

/// The keys in use. Cheap to clone; all clones are the same. Only one task may rotate them.
#[derive(Clone)]
pub(crate) struct TicketKeys(Arc<ArcSwap<KeyRing>>);

/// The key that tickets are made with, and the one before it, which opens older tickets.
struct KeyRing {
    current: Arc<TicketKey>,
    previous: Option<Arc<TicketKey>>,
}

struct TicketKey {
    /// The key's id, which stands in each of its tickets.
    id: [u8; ID],
    secret: [u8; SECRET],
    sealing: RandomizedNonceKey,
    made: SystemTime,
}

impl TicketKeys {
    /// Makes new keys, or takes up those that [`TicketKeys::to_keep`] of an earlier server returned, as far as they are
    /// not too old.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn new(kept: Option<&[u8]>, now: SystemTime) -> Result<Self, rustls::Error> {
        let ring = match kept.and_then(|kept| KeyRing::read(kept, now)) {
            Some(ring) => ring,
            None => KeyRing { current: Arc::new(TicketKey::random(now)?), previous: None },
        };
        Ok(Self(Arc::new(ArcSwap::from_pointee(ring))))
    }

    /// Replaces the key that tickets are made with, if it has been in use for long enough, and forgets keys that are
    /// too old; returns true when the set of keys has changed, and is to be kept anew.
    ///
    /// # Errors
    /// When the system has no randomness; the keys in use stay.
    pub(crate) fn rotate(&self, now: SystemTime) -> Result<bool, rustls::Error> {
        let ring = self.0.load_full();
        if ring.current.is_younger_than(ROTATION, now) {
            return Ok(false);
        }
        let previous = Some(&ring.current).filter(|key| key.is_younger_than(LIFE, now)).map(Arc::clone);
        self.0.store(Arc::new(KeyRing { current: Arc::new(TicketKey::random(now)?), previous }));
        Ok(true)
    }

    /// The keys as bytes, for systemd's descriptor store: the version of this format, then for each key when it was
    /// made (seconds since 1970), its id and its secret.
    pub(crate) fn to_keep(&self) -> Vec<u8> {
        let ring = self.0.load();
        let mut bytes = vec![VERSION];
        for key in ring.all() {
            let made = key.made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            bytes.extend_from_slice(&made.to_be_bytes());
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(&key.secret);
        }
        bytes
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    /// The lifetime of a ticket in seconds: its key is kept at least so long.
    fn lifetime(&self) -> u32 {
        (LIFE - ROTATION).as_secs() as u32
    }

    /// Makes a ticket: `id ‖ nonce ‖ ciphertext ‖ tag`; the id is authenticated, too.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.0.load();
        let key = &ring.current;
        let mut sealed = plain.to_vec();
        let nonce = key.sealing.seal_in_place_append_tag(Aad::from(key.id), &mut sealed).ok()?;
        Some([&key.id[..], &nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_at_checked(ID)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let ring = self.0.load();
        let key = ring.all().find(|key| key.id == id)?;
        let mut plain = sealed.to_vec();
        let length = key.sealing.open_in_place(nonce, Aad::from(key.id), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl KeyRing {
    fn all(&self) -> impl Iterator<Item = &TicketKey> {
        std::iter::once(&self.current).chain(&self.previous).map(Arc::as_ref)
    }

    /// Reads the bytes of an earlier server; `None` when they are of another version, damaged, or too old to be of use.
    fn read(kept: &[u8], now: SystemTime) -> Option<Self> {
        let (version, keys) = kept.split_first()?;
        let (keys, rest) = keys.as_chunks::<KEPT>();
        if *version != VERSION || !rest.is_empty() {
            return None;
        }
        let keys = keys.iter().filter_map(TicketKey::read);
        let mut keys = keys.filter(|key| key.is_younger_than(LIFE, now)).map(Arc::new);
        Some(Self { current: keys.next()?, previous: keys.next() })
    }
}

impl TicketKey {
    fn random(now: SystemTime) -> Result<Self, rustls::Error> {
        let random = SystemRandom::new();
        let (mut id, mut secret) = ([0; ID], [0; SECRET]);
        random.fill(&mut id).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        random.fill(&mut secret).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Self::new(id, secret, now).ok_or(rustls::Error::FailedToGetRandomBytes)
    }

    fn new(id: [u8; ID], secret: [u8; SECRET], made: SystemTime) -> Option<Self> {
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?;
        Some(Self { id, secret, sealing, made })
    }

    fn read(bytes: &[u8; KEPT]) -> Option<Self> {
        let (made, rest) = bytes.split_first_chunk::<8>()?;
        let (id, secret) = rest.split_first_chunk::<ID>()?;
        let made = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*made)))?;
        Self::new(*id, secret.try_into().ok()?, made)
    }

    /// Whether the key is younger than `age`. A key of the future counts as too old: a wrong clock made it.
    fn is_younger_than(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.made).is_ok_and(|own| own < age)
    }
}

const ID: usize = 16;
const SECRET: usize = 32;
const KEPT: usize = 8 + ID + SECRET;
const VERSION: u8 = 1;
/// How long new tickets are made with one key.
const ROTATION: Duration = Duration::from_secs(6 * 3_600);
/// How long a key opens tickets.
const LIFE: Duration = Duration::from_secs(12 * 3_600);

#[cfg(test)]
mod tests {
    use super::super::testing::now;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn keys() -> TicketKeys {
        TicketKeys::new(None, now()).unwrap()
    }

    #[test]
    fn a_ticket_is_opened_by_its_keys_and_by_no_others() {
        let (keys, others) = (keys(), keys());
        let ticket = keys.encrypt(b"session").unwrap();
        assert_eq!(keys.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(ticket, keys.encrypt(b"session").unwrap());
        assert_eq!(others.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(keys.decrypt(&other), None, "byte {at}");
            assert_eq!(keys.decrypt(&ticket[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn keys_are_rotated_and_the_one_before_still_opens() {
        let keys = keys();
        let first = keys.encrypt(b"1").unwrap();
        assert!(!keys.rotate(now() + 5 * HOUR).unwrap());
        assert!(keys.rotate(now() + 6 * HOUR).unwrap());
        assert_eq!(keys.decrypt(&first).as_deref(), Some(&b"1"[..]));
        assert!(keys.rotate(now() + 12 * HOUR).unwrap());
        assert_eq!(keys.decrypt(&first), None);
        // The clock jumps as after a sleep of the machine, or as when it is put back.
        let last = keys.encrypt(b"2").unwrap();
        assert!(keys.rotate(now() + 40 * HOUR).unwrap());
        assert_eq!(keys.decrypt(&last), None);
        assert!(keys.rotate(now()).unwrap());
    }

    #[test]
    fn kept_keys_open_tickets_after_a_restart_for_as_long_as_before() {
        let before = keys();
        let first = before.encrypt(b"1").unwrap();
        before.rotate(now() + 6 * HOUR).unwrap();
        let second = before.encrypt(b"2").unwrap();
        let after = |hours: u32| TicketKeys::new(Some(&before.to_keep()), now() + hours * HOUR).unwrap();
        assert_eq!(after(7).decrypt(&first).as_deref(), Some(&b"1"[..]));
        assert_eq!(after(7).decrypt(&second).as_deref(), Some(&b"2"[..]));
        assert_eq!(after(13).decrypt(&first), None);
        assert_eq!(after(13).decrypt(&second).as_deref(), Some(&b"2"[..]));
        assert_eq!(after(18).decrypt(&second), None);
        let early = TicketKeys::new(Some(&before.to_keep()), now() - HOUR).unwrap();
        assert_eq!(early.decrypt(&second), None, "a clock that was put back");
    }

    #[test]
    fn what_is_damaged_is_not_taken_and_nothing_shows_a_secret() {
        let keys = keys();
        let ticket = keys.encrypt(b"1").unwrap();
        let kept = keys.to_keep();
        for bad in
            [&kept[..kept.len() - 1], &[], &[1], &[&[2], &kept[1..]].concat(), &[&kept[..], b"x"].concat()]
        {
            assert_eq!(TicketKeys::new(Some(bad), now()).unwrap().decrypt(&ticket), None);
        }
        assert_eq!(format!("{keys:?}"), "TicketKeys");
    }
}
