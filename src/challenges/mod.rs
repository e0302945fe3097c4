//! Owns the answers to an authority that asks whether a name leads to this server (RFC 8555 §8.3, RFC 8737).
//!
//! The agent puts the answers in; the data path and the handshakes read them without a lock. Where the agent is a
//! process of its own, servers follow its answers (`follower`). Never here: orders, or which hosts are registered.

mod follower;
mod handshake;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use rustls::server::ClientHello;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::name::HostName;

use follower::Spread;

/// The answers to authorities. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Challenges(Arc<ChallengesInner>);

#[derive(Default)]
struct ChallengesInner {
    /// The thumbprint of the account's key. The answer to any token is made of it, so that no token has to be known
    /// (RFC 8555 §8.1).
    thumbprint: ArcSwapOption<String>,
    /// Answers of accounts with keys of their own, by token.
    by_token: ArcSwap<HashMap<String, Arc<str>>>,
    /// The settings of handshakes of tls-alpn-01, by name.
    by_name: ArcSwap<HashMap<HostName, Handshake>>,
    /// The hosts of other servers of this machine; every server answers for them, too.
    elsewhere: ArcSwap<HashSet<HostName>>,
    /// The version of the answers that each follower has seen.
    spread: watch::Sender<Spread>,
}

/// A handshake that an authority is expected to make.
#[derive(Clone)]
struct Handshake {
    digest: Vec<u8>,
    config: Arc<ServerConfig>,
}

/// All answers at one moment, as a process tells them to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    thumbprint: Option<String>,
    tokens: BTreeMap<String, String>,
    /// Digests of key authorizations (RFC 8737 §3), by name.
    handshakes: BTreeMap<HostName, Vec<u8>>,
}

impl Challenges {
    /// Has any well-formed token answered with this thumbprint from now on.
    pub(crate) fn set_thumbprint(&self, thumbprint: &str) {
        self.0.thumbprint.store(Some(Arc::new(thumbprint.to_owned())));
        self.tell_followers();
    }

    /// Answers this token with this text until the guard is dropped.
    #[must_use]
    pub(crate) fn expect_token(&self, token: &str, answer: &str) -> Expected {
        self.0.by_token.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(token.to_owned(), answer.into());
            next
        });
        self.tell_followers();
        Expected { of: self.clone(), what: What::Token(token.to_owned()) }
    }

    /// Lets handshakes of tls-alpn-01 for the name show this digest of a key authorization (RFC 8737 §3) until the
    /// guard is dropped.
    ///
    /// # Errors
    /// When no certificate can be made for the name.
    pub(crate) fn expect_handshake(&self, name: &HostName, digest: &[u8]) -> Result<Expected, String> {
        let handshake = Handshake::new(name, digest)?;
        self.0.by_name.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(name.clone(), handshake.clone());
            next
        });
        self.tell_followers();
        Ok(Expected { of: self.clone(), what: What::Name(name.clone()) })
    }

    /// All answers, for another process.
    pub(crate) fn answers(&self) -> Answers {
        let tokens = self.0.by_token.load();
        let names = self.0.by_name.load();
        Answers {
            thumbprint: self.0.thumbprint.load().as_ref().map(ToString::to_string),
            tokens: tokens.iter().map(|(token, answer)| (token.clone(), answer.to_string())).collect(),
            handshakes: names.iter().map(|(name, own)| (name.clone(), own.digest.clone())).collect(),
        }
    }

    /// Replaces all answers by those of another process.
    pub(crate) fn replace(&self, answers: Answers) {
        let before = self.0.by_name.load_full();
        let handshake = |(name, digest): (HostName, Vec<u8>)| {
            let same = before.get(&name).filter(|own| own.digest == digest).cloned();
            let own = same.map_or_else(|| Handshake::new(&name, &digest), Ok);
            let own =
                own.inspect_err(|error| tracing::warn!(host = %name, error, "no handshake of tls-alpn-01"));
            Some((name, own.ok()?))
        };
        self.0.by_name.store(Arc::new(answers.handshakes.into_iter().filter_map(handshake).collect()));
        let tokens = answers.tokens.into_iter().map(|(token, answer)| (token, answer.into()));
        self.0.by_token.store(Arc::new(tokens.collect()));
        self.0.thumbprint.store(answers.thumbprint.map(Arc::new));
        self.tell_followers();
    }

    /// Answers authorities that ask for one of these hosts, too, from now on: other servers of this machine have them.
    pub(crate) fn answer_for(&self, hosts: impl IntoIterator<Item = HostName>) {
        self.0.elsewhere.store(Arc::new(hosts.into_iter().collect()));
    }

    /// Whether the host is one of another server of this machine.
    pub(crate) fn is_elsewhere(&self, host: &str) -> bool {
        self.0.elsewhere.load().contains(host)
    }

    /// The answer to a request's path below `/.well-known/acme-challenge/`; `None` when the path is another one, the
    /// token is not well-formed, or there is no account.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PREFIX)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(20..=128).contains(&token.len()) || !token.bytes().all(plain) {
            return None;
        }
        if let Some(answer) = self.0.by_token.load().get(token) {
            return Some(answer.to_string());
        }
        let thumbprint = self.0.thumbprint.load();
        thumbprint.as_ref().map(|thumbprint| format!("{token}.{thumbprint}"))
    }

    /// The settings for a handshake that a client has begun with `hello`. The outer `None`: it is no handshake of
    /// tls-alpn-01; the inner `None`: no authority is expected to make one for this name.
    #[allow(dead_code, reason = "no handshake asks yet")]
    pub(crate) fn handshake(&self, hello: &ClientHello<'_>) -> Option<Option<Arc<ServerConfig>>> {
        let mut protocols = hello.alpn()?;
        let asked = protocols.next() == Some(ALPN) && protocols.next().is_none();
        asked.then(|| {
            let (name, by_name) = (hello.server_name()?, self.0.by_name.load());
            let found = match address_of(name) {
                Some(address) => by_name.iter().find(|(host, _)| host.address() == Some(address))?.1,
                None => by_name.get(name)?,
            };
            Some(Arc::clone(&found.config))
        })
    }
}

/// The address that a handshake's name stands for (RFC 8738 §6); other handshakes name no addresses.
fn address_of(name: &str) -> Option<IpAddr> {
    let reversed = |digits: &str| digits.split('.').rev().map(str::to_owned).collect::<Vec<_>>();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        return reversed(digits).join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits = reversed(name.strip_suffix(".ip6.arpa")?);
    let is_whole = digits.len() == 32 && digits.iter().all(|digit| digit.len() == 1);
    let bits = u128::from_str_radix(&digits.concat(), 16).ok().filter(|_| is_whole)?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

/// An answer that is there until this guard is dropped.
#[derive(Debug)]
pub(crate) struct Expected {
    of: Challenges,
    what: What,
}

#[derive(Debug)]
enum What {
    Token(String),
    Name(HostName),
}

impl Drop for Expected {
    fn drop(&mut self) {
        let shared = &self.of.0;
        match &self.what {
            What::Token(token) => {
                shared.by_token.rcu(|now| {
                    let mut next = HashMap::clone(now);
                    next.remove(token);
                    next
                });
            }
            What::Name(name) => {
                shared.by_name.rcu(|now| {
                    let mut next = HashMap::clone(now);
                    next.remove(name);
                    next
                });
            }
        }
        self.of.tell_followers();
    }
}

/// The ALPN name of tls-alpn-01 (RFC 8737 §4).
pub(crate) const ALPN: &[u8] = b"acme-tls/1";
/// The path below which authorities ask by HTTP (RFC 8555 §8.3).
pub(crate) const PREFIX: &str = "/.well-known/acme-challenge/";

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA-_";

    fn asked(challenges: &Challenges, token: &str) -> Option<String> {
        challenges.answer(&format!("{PREFIX}{token}"))
    }

    #[test]
    fn any_well_formed_token_is_answered_once_there_is_an_account() {
        let challenges = Challenges::default();
        assert_eq!(asked(&challenges, TOKEN), None);
        challenges.set_thumbprint("print");
        assert_eq!(asked(&challenges, TOKEN), Some(format!("{TOKEN}.print")));
        assert_eq!(challenges.answer("/index.html"), None);
        let long = "a".repeat(129);
        for token in
            ["short", "nineteen-characters", "has/a/slash/in/its/middle", "has%20escapes%20in%20it", &long]
        {
            assert_eq!(asked(&challenges, token), None, "{token}");
        }
    }

    #[test]
    fn what_is_expected_is_answered_first_and_only_as_long_as_it_is_expected() {
        let challenges = Challenges::default();
        challenges.set_thumbprint("print");
        let expected = challenges.expect_token(TOKEN, "another answer");
        assert_eq!(asked(&challenges, TOKEN).as_deref(), Some("another answer"));
        drop(expected);
        assert_eq!(asked(&challenges, TOKEN), Some(format!("{TOKEN}.print")));
    }

    #[test]
    fn an_address_is_named_by_its_place_in_the_domain_name_system() {
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(address_of("1.2.0.192.in-addr.arpa"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address_of(v6), Some("2001:db8::1".parse().unwrap()));
        for other in ["a.example", "2.0.192.in-addr.arpa", "x.1.0.ip6.arpa", &v6[2..], "in-addr.arpa"] {
            assert_eq!(address_of(other), None, "{other}");
        }
    }
}
