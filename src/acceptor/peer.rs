//! Owns the origin of a request: the client's address, and whether the peer may speak for others.
//!
//! Trust is a list of addresses, never a guess from the kind of connection. Never here: which fields pass (`headers`).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::HeaderMap;
use ipnet::IpNet;

use crate::name::{ClientNet, PathPrefix, RequestId};
use crate::spec::Rate;
use crate::time::timer;

use super::error::ServeError;
use super::wire::headers::is_forwarding;

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// The address; an IPv4 client of an IPv6 socket has its IPv4 address.
    pub(super) address: IpAddr,
    /// The address as text, which every request needs.
    text: Box<str>,
    /// The client that the peer counts as.
    pub(super) net: ClientNet,
}

impl Peer {
    pub(super) fn new(address: SocketAddr) -> Self {
        let address = canonical(address.ip());
        Self { address, text: address.to_string().into(), net: ClientNet::of(address) }
    }

    /// The client whose share the connection takes from, whatever its requests say; `None`: a trusted proxy.
    pub(super) fn share(&self, trusted: &[IpNet]) -> Option<ClientNet> {
        (!is_trusted(self.address, trusted)).then_some(self.net)
    }
}

/// A request's client as the server sees it.
#[derive(Debug)]
pub(super) struct RequestClient<'a> {
    /// The nearest address that is not a trusted proxy's, as far as trusted proxies name it.
    pub(super) address: IpAddr,
    /// The value of `X-Forwarded-For` for the worker.
    pub(super) forwarded_for: Cow<'a, str>,
    /// The facts that a trusted proxy tells of the request; `None`: the peer is not trusted.
    pub(super) told: Option<Box<ProxiedRequest>>,
    /// The client whose share of the server's resources the request takes from; `None`: a trusted proxy sent the
    /// request and did not say for whom.
    pub(super) share: Option<ClientNet>,
}

/// A request as a trusted proxy got it.
#[derive(Debug)]
pub(super) struct ProxiedRequest {
    pub(super) proto: Option<&'static str>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// The prefix that the proxy took away from the path (`X-Forwarded-Prefix`).
    pub(super) prefix: Option<PathPrefix>,
    /// The id that the proxy gave the request.
    pub(super) id: Option<RequestId>,
}

impl<'a> RequestClient<'a> {
    /// Reads the forwarding fields, if the peer is trusted.
    pub(super) fn of(peer: &'a Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let address = peer.address;
        if !is_trusted(address, trusted) {
            let (forwarded_for, share) = (Cow::Borrowed(&*peer.text), Some(peer.net));
            return Self { address, forwarded_for, told: None, share };
        }
        let chain = joined(headers, "x-forwarded-for");
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let told = ProxiedRequest {
            proto: match text("x-forwarded-proto") {
                Some("https") => Some("https"),
                Some("http") => Some("http"),
                _ => None,
            },
            host: text("x-forwarded-host").map(str::to_owned),
            port: text("x-forwarded-port").and_then(|port| port.parse().ok()),
            prefix: text("x-forwarded-prefix").and_then(|prefix| PathPrefix::parse(prefix).ok()),
            id: headers.get("x-request-id").and_then(|id| RequestId::parse(id.as_bytes())),
        };
        let nearest = nearest(&chain, address, trusted);
        Self {
            address: nearest,
            share: (!is_trusted(nearest, trusted)).then(|| ClientNet::of(nearest)),
            forwarded_for: match chain.as_str() {
                "" => Cow::Borrowed(&peer.text),
                chain => Cow::Owned(format!("{chain}, {address}")),
            },
            told: Some(Box::new(told)),
        }
    }
}

/// The client whose share a connection from this address takes a place from; `None`: a trusted proxy, which has none.
pub(super) fn share_of(address: SocketAddr, trusted: &[IpNet]) -> Option<ClientNet> {
    let address = canonical(address.ip());
    (!is_trusted(address, trusted)).then(|| ClientNet::of(address))
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The address of an IPv4 client of an IPv6 socket as IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The nearest address of the chain that is not trusted. Each entry was written by the proxy whose address follows it,
/// the last one by the peer. Entries in front of an untrusted address, or of an entry that is no address, may be
/// anybody's invention.
fn nearest(chain: &str, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer;
    for hop in chain.rsplit(',').map_while(|part| parse_hop(part.trim())) {
        nearest = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    nearest
}

/// Whether a forwarding field says that the request came through a proxy, trusted or not.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| is_forwarding(name.as_str()))
}

fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|hop| hop.ip())).ok().map(canonical)
}

/// All values of a field, with a `?` for each byte that is no text. No value is left out, or other entries would seem
/// nearer than they are.
fn joined(headers: &HeaderMap, name: &str) -> String {
    let mut all = String::new();
    for (at, value) in headers.get_all(name).iter().enumerate() {
        if at > 0 {
            all.push_str(", ");
        }
        let text = |byte: &u8| matches!(byte, b' ' | b'\t' | b'!'..=b'~');
        all.extend(value.as_bytes().iter().map(|byte| if text(byte) { char::from(*byte) } else { '?' }));
    }
    all
}

/// A token bucket per address; addresses whose buckets are full again are forgotten.
pub(super) struct RateLimit {
    limiter: DefaultKeyedRateLimiter<ClientNet>,
    clock: DefaultClock,
}

impl RateLimit {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`ServeError::OverRate`] when the address has used up its tokens.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), ServeError> {
        self.limiter
            .check_key(&ClientNet::of(address))
            .map_err(|refusal| ServeError::OverRate { retry_after: refusal.wait_time_from(self.clock.now()) })
    }

    /// Takes so many tokens; false, and nothing is taken, when the client has fewer.
    pub(super) fn take(&self, client: ClientNet, tokens: NonZeroU32) -> bool {
        matches!(self.limiter.check_key_n(&client, tokens), Ok(Ok(())))
    }

    /// Forgets addresses whose buckets are full, at intervals, for ever.
    pub(super) async fn sweep(&self) {
        loop {
            timer::sleep(SWEEP).await;
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }
}

const SWEEP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields =
            fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        fields.collect()
    }

    #[test]
    fn a_stranger_speaks_for_itself_only() {
        let fields = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "abcdefgh"),
        ]);
        let peer = Peer::new("10.0.0.9:1".parse().unwrap());
        let client = RequestClient::of(&peer, &fields, &[]);
        assert_eq!(client.forwarded_for, "10.0.0.9");
        assert!(client.told.is_none());
        assert_eq!(client.share, Some(ClientNet::of("10.0.0.9".parse().unwrap())));
    }

    #[test]
    fn behind_trusted_proxies_the_nearest_stranger_is_the_client() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let fields =
            headers(&[("x-forwarded-for", "6.6.6.6, 7.7.7.7, 10.0.0.1"), ("x-forwarded-proto", "https")]);
        let peer = Peer::new("[::ffff:10.0.0.9]:1".parse().unwrap());
        let client = RequestClient::of(&peer, &fields, &trusted);
        assert_eq!(client.address, "7.7.7.7".parse::<IpAddr>().unwrap());
        assert_eq!(client.forwarded_for, "6.6.6.6, 7.7.7.7, 10.0.0.1, 10.0.0.9");
        assert_eq!(client.told.unwrap().proto, Some("https"));
        assert_eq!(client.share, Some(ClientNet::of("7.7.7.7".parse().unwrap())));
        let silent = RequestClient::of(&peer, &HeaderMap::new(), &trusted);
        assert_eq!(silent.share, None, "its clients are not told apart");
    }

    #[test]
    fn an_entry_that_is_no_address_hides_what_stands_before_it() {
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        let peer = Peer::new("127.0.0.1:1".parse().unwrap());
        for (chain, client) in [
            (&[&b"127.0.0.2, unknown"[..]][..], "127.0.0.1"),
            (&[b"127.0.0.2, fe80::1%eth0"], "127.0.0.1"),
            (&[b"127.0.0.2, \xe9"], "127.0.0.1"),
            (&[b"127.0.0.2", b"\xe9, 6.6.6.6"], "6.6.6.6"),
            (&[b"6.6.6.6", b"\xe9"], "127.0.0.1"),
            (&[b"6.6.6.6, "], "127.0.0.1"),
            (&[b"6.6.6.6, x, 127.0.0.3"], "127.0.0.3"),
            (&[b"6.6.6.6, 127.0.0.3"], "6.6.6.6"),
            (&[b"[2001:db8::1]:80, 127.0.0.3:81"], "2001:db8::1"),
        ] {
            let mut fields = HeaderMap::new();
            for value in chain {
                fields.append("x-forwarded-for", http::HeaderValue::from_bytes(value).unwrap());
            }
            let found = RequestClient::of(&peer, &fields, &trusted);
            assert_eq!(found.address, client.parse::<IpAddr>().unwrap(), "{chain:?}");
            assert!(!found.forwarded_for.contains('\u{e9}'), "{}", found.forwarded_for);
        }
    }

    #[test]
    fn the_bucket_of_one_address_does_not_drain_another() {
        let one = NonZeroU32::MIN;
        let limit = RateLimit::new(Rate { per_second: one, burst: one });
        assert!(limit.check("10.0.0.1".parse().unwrap()).is_ok());
        assert!(limit.check("10.0.0.1".parse().unwrap()).is_err());
        assert!(limit.check("10.0.0.2".parse().unwrap()).is_ok());
        assert!(limit.check("2001:db8::1".parse().unwrap()).is_ok());
        assert!(limit.check("2001:db8::2".parse().unwrap()).is_err(), "the same /64");
    }

    #[test]
    fn several_tokens_are_taken_at_once_or_none() {
        let [few, most] = [NonZeroU32::MIN, NonZeroU32::new(10).unwrap()];
        let limit = RateLimit::new(Rate { per_second: few, burst: most });
        let [one, two] = [1, 2].map(|last| ClientNet::of([10, 0, 0, last].into()));
        assert!(limit.take(one, few) && !limit.take(one, most) && limit.take(two, most));
        assert!(limit.take(one, NonZeroU32::new(9).unwrap()) && !limit.take(one, few));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_quiet_again_are_forgotten_and_others_are_not() {
        let rate = |per_second: u32, burst: u32| Rate {
            per_second: per_second.try_into().unwrap(),
            burst: burst.try_into().unwrap(),
        };
        let addresses = (0..1000).map(|last| IpAddr::from([10, 0, (last >> 8) as u8, last as u8]));
        let quick = RateLimit::new(rate(u32::MAX, 1));
        addresses.for_each(|address| quick.check(address).unwrap());
        let slow = RateLimit::new(rate(1, 100));
        let busy = "10.0.0.1".parse().unwrap();
        while slow.check(busy).is_ok() {}

        let sweeps = async { tokio::join!(quick.sweep(), slow.sweep()) };
        assert!(timer::timeout(2 * SWEEP, sweeps).await.is_err(), "for ever");

        assert_eq!(quick.limiter.len(), 0);
        assert_eq!(slow.limiter.len(), 1);
    }
}
