//! Owns which clients of an app get a new generation before all others do.
//!
//! Pure. Never here: the generation's workers (`supervisor`), or when all clients get it.

use std::fmt;
use std::sync::Arc;

use crate::digest;
use crate::name::{AppName, ClientNet};

/// A share of an app's clients, in hundredths of a per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientShare(u32);

impl ClientShare {
    /// So many in a hundred.
    pub(crate) fn percent(percent: u8) -> Self {
        Self(u32::from(percent.min(100)) * 100)
    }

    /// As many as `part` workers of `all` would serve.
    pub(crate) fn of_workers(part: usize, all: usize) -> Self {
        Self((part.min(all) * WHOLE as usize / all.max(1)) as u32)
    }

    /// Whether a client of the app belongs to the share. It is always the same clients: those of a smaller share belong
    /// to every larger one, on every machine, and of another app they are others.
    pub(crate) fn has(self, app: &AppName, client: ClientNet) -> bool {
        let hash = digest::bytes(&[app.as_str().as_bytes(), client.to_string().as_bytes()]);
        let number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number % u64::from(WHOLE) < u64::from(self.0)
    }
}

/// The share in per cent: `10 %`, `33.33 %`.
impl fmt::Display for ClientShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, rest) => write!(f, "{whole}.{rest:02} %"),
        }
    }
}

const WHOLE: u32 = 10_000;

/// How far a deploy is to go before somebody decides about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CanaryWish {
    /// So many of a hundred clients get it.
    Percent(u8),
    /// The new generation gets so many workers, and as many clients as these would serve.
    First(usize),
}

impl CanaryWish {
    /// How many workers the share needs of an app that has so many.
    pub(crate) fn workers(self, all: usize) -> usize {
        match self {
            Self::Percent(percent) => (all * usize::from(percent)).div_ceil(100).max(1),
            Self::First(workers) => workers.clamp(1, all.max(1)),
        }
    }

    /// The share of the clients of an app with so many workers.
    pub(crate) fn share(self, all: usize) -> ClientShare {
        match self {
            Self::Percent(percent) => ClientShare::percent(percent),
            Self::First(workers) => ClientShare::of_workers(workers, all),
        }
    }
}

/// The generation that a share of the clients gets in place of the one that all others get. No setting has this value: a deploy puts it
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canary<R>(pub(crate) Option<Arc<CanaryRules<R>>>);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CanaryRules<R> {
    pub(crate) share: ClientShare,
    /// The settings of the generation that these clients get.
    pub(crate) rules: Arc<R>,
}

impl<R> Default for Canary<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl<R> Canary<R> {
    /// The initial value: no setting has one.
    pub(crate) fn read<V>(_: &V) -> Self {
        Self::default()
    }

    /// The settings for this client, if it gets the new generation. Requests whose client is unknown do not.
    pub(crate) fn rules_for(&self, app: &AppName, client: Option<ClientNet>) -> Option<Arc<R>> {
        let canary = self.0.as_ref()?;
        canary.share.has(app, client?).then(|| Arc::clone(&canary.rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blog() -> AppName {
        AppName::parse("blog").unwrap()
    }

    fn client(number: u32) -> ClientNet {
        ClientNet::of(std::net::Ipv4Addr::from(0x0a00_0000 + number).into())
    }

    #[test]
    fn a_share_has_about_as_many_clients_as_it_says_and_the_larger_has_those_of_the_smaller() {
        let mut before = 0;
        for percent in [0, 1, 10, 50, 99, 100] {
            let share = ClientShare::percent(percent);
            let has = (0..20_000).filter(|number| share.has(&blog(), client(*number))).count();
            let expected = 200 * usize::from(percent);
            assert!(has.abs_diff(expected) < 300 && has >= before, "{percent} %: {has}");
            before = has;
            let smaller = ClientShare::percent(percent / 2);
            let missing = (0..2_000)
                .find(|number| smaller.has(&blog(), client(*number)) && !share.has(&blog(), client(*number)));
            assert_eq!(missing, None, "{percent} %");
        }
        assert_eq!(before, 20_000, "all are all");
    }

    #[test]
    fn the_clients_of_a_share_are_the_same_for_ever_and_others_for_each_app() {
        let share = ClientShare::percent(10);
        let of = |app: &str| -> Vec<u32> {
            let app = AppName::parse(app).unwrap();
            (0..60).filter(|number| share.has(&app, client(*number))).collect()
        };
        // (printf '\0\0\0\0\0\0\0\4blog\0\0\0\0\0\0\0\10'; printf 10.0.0.7) | sha256sum, of each: the first 8 bytes mod 10000 below 1000
        assert_eq!(of("blog"), OF_BLOG);
        assert_ne!(of("shop"), OF_BLOG);
        let net = |text: &str| ClientNet::of(text.parse().unwrap());
        assert_eq!(share.has(&blog(), net("2001:db8::1")), share.has(&blog(), net("2001:db8::ffff")));
    }

    const OF_BLOG: &[u32] = &[19, 24, 28, 40, 43, 48, 49];

    #[test]
    fn a_share_has_the_workers_that_it_needs() {
        for (wish, all, workers, share) in [
            (CanaryWish::Percent(10), 4, 1, "10 %"),
            (CanaryWish::Percent(50), 4, 2, "50 %"),
            (CanaryWish::Percent(51), 4, 3, "51 %"),
            (CanaryWish::Percent(1), 1, 1, "1 %"),
            (CanaryWish::Percent(99), 200, 198, "99 %"),
            (CanaryWish::First(1), 4, 1, "25 %"),
            (CanaryWish::First(3), 4, 3, "75 %"),
            (CanaryWish::First(9), 4, 4, "100 %"),
        ] {
            assert_eq!(
                (wish.workers(all), wish.share(all).to_string().as_str()),
                (workers, share),
                "{wish:?}"
            );
        }
    }

    #[test]
    fn shares_are_shown_in_per_cent() {
        for (share, text) in [
            (ClientShare::percent(10), "10 %"),
            (ClientShare::of_workers(1, 4), "25 %"),
            (ClientShare::of_workers(1, 3), "33.33 %"),
            (ClientShare::of_workers(1, 4096), "0.02 %"),
            (ClientShare::of_workers(5, 3), "100 %"),
        ] {
            assert_eq!(share.to_string(), text);
        }
    }
}
