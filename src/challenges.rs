//! Owns the answers to an authority that asks whether a name leads to this server (RFC 8555 §8.3, RFC 8737).
//!
//! The agent puts in what it has; the data path and the certificate resolver read without a lock. Never here: orders,
//! or which hosts are registered.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use rustls::server::ClientHello;

use crate::name::HostName;

/// The answers at hand. Clones are the same ones.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The account key's; the answer to any token has it, so that no token has to be known (RFC 8555 §8.1).
    thumbprint: ArcSwapOption<String>,
    /// Answers of accounts with keys of their own, by token.
    by_token: ArcSwap<HashMap<String, Arc<str>>>,
    /// How handshakes of tls-alpn-01 go on, by name.
    by_name: ArcSwap<HashMap<HostName, Arc<ServerConfig>>>,
}

impl Challenges {
    /// From now on any well-formed token is answered with this thumbprint.
    pub fn set_thumbprint(&self, thumbprint: &str) {
        self.0.thumbprint.store(Some(Arc::new(thumbprint.to_owned())));
    }

    /// Answers this one token with this text until the guard is dropped.
    #[must_use]
    pub fn expect_token(&self, token: &str, answer: &str) -> Expected {
        self.0.by_token.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(token.to_owned(), answer.into());
            next
        });
        Expected { of: self.clone(), what: What::Token(token.to_owned()) }
    }

    /// Lets handshakes of tls-alpn-01 for the name go on so until the guard is dropped.
    #[must_use]
    pub fn expect_handshake(&self, name: &HostName, config: Arc<ServerConfig>) -> Expected {
        self.0.by_name.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(name.clone(), Arc::clone(&config));
            next
        });
        Expected { of: self.clone(), what: What::Name(name.clone()) }
    }

    /// The answer to what a request asks for below `/.well-known/acme-challenge/`; `None` when the path is another one,
    /// the token is not well-formed, or there is no account.
    pub fn answer(&self, path: &str) -> Option<String> {
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

    /// How a handshake goes on that a client has begun so: the outer `None` when it is none of tls-alpn-01, the inner
    /// one when no authority is expected to make one for this name.
    pub fn handshake(&self, hello: &ClientHello<'_>) -> Option<Option<Arc<ServerConfig>>> {
        let mut protocols = hello.alpn()?;
        let asked = protocols.next() == Some(ALPN) && protocols.next().is_none();
        asked.then(|| self.0.by_name.load().get(hello.server_name()?).cloned())
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

/// An answer that is at hand as long as this lives.
#[derive(Debug)]
pub struct Expected {
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
    }
}

/// The name of the protocol that handshakes of tls-alpn-01 ask for (RFC 8737 §4).
pub const ALPN: &[u8] = b"acme-tls/1";
/// Where authorities ask by HTTP (RFC 8555 §8.3).
pub const PREFIX: &str = "/.well-known/acme-challenge/";

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
}
