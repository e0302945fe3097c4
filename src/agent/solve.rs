//! Owns showing an authority that a name leads here: the choice of a way, and the answer that is put up for it.
//!
//! Never here: the order around it (`authority`).

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instant_acme::{ChallengeType, KeyAuthorization};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::challenges::{Challenges, Expected, PREFIX};
use crate::name::HostName;
use crate::spec::acme::Challenge;

use super::failure::{Failure, FailureKind};
use super::hook;

/// The solver shows authorities that names lead here.
#[derive(Clone)]
pub(super) struct Solver {
    pub(super) challenges: Challenges,
    pub(super) wish: Challenge,
    pub(super) hook: Option<PathBuf>,
}

/// The answer that is put up for one name. Answers over HTTP and handshakes are taken down when this is dropped; a DNS
/// record needs [`Solver::take_down`].
pub(super) struct Shown {
    _expected: Option<Expected>,
    record: Option<(String, String)>,
}

impl Solver {
    /// Chooses the way for a host, among those that the authority offers. Where there is a choice, the solver first
    /// asks its own machine by plain HTTP; where that shows nothing, each attempt (`attempt` counts from 1) takes
    /// another way.
    ///
    /// # Errors
    /// When the authority offers none that the settings allow.
    pub(super) async fn choose(
        &self,
        host: &HostName,
        offered: &[ChallengeType],
        attempt: u32,
    ) -> Result<ChallengeType, Failure> {
        let has = |kind: &ChallengeType| offered.contains(kind);
        let wanted = match self.wish {
            Challenge::Http => ChallengeType::Http01,
            Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
            Challenge::Dns => ChallengeType::Dns01,
            Challenge::Auto if host.is_wildcard() => ChallengeType::Dns01,
            Challenge::Auto if self.is_seen_by_http(host).await == Some(true) => ChallengeType::Http01,
            Challenge::Auto => self.other_way(answers_https(host).await, offered, attempt),
        };
        if wanted == ChallengeType::Dns01 && self.hook.is_none() {
            return Err(failed("a DNS record needs a program that sets it: tls.acme_hook".into()));
        }
        if !has(&wanted) {
            return Err(failed(format!("the authority does not offer {}", name_of(&wanted))));
        }
        Ok(wanted)
    }

    /// The way where this machine cannot reach itself by plain HTTP, which others may be able to all the same.
    fn other_way(&self, answers_https: bool, offered: &[ChallengeType], attempt: u32) -> ChallengeType {
        let (http, tls) = (Some(ChallengeType::Http01), Some(ChallengeType::TlsAlpn01));
        let dns = self.hook.is_some().then_some(ChallengeType::Dns01);
        let likely = if answers_https { [tls, dns, http] } else { [dns, http, tls] };
        let ways: Vec<_> = likely.into_iter().flatten().filter(|way| offered.contains(way)).collect();
        let place = attempt.saturating_sub(1) as usize % ways.len().max(1);
        ways.into_iter().nth(place).unwrap_or(ChallengeType::Http01)
    }

    /// Whether this machine gets its own answer by the host's name; `None` when nothing answers.
    pub(super) async fn is_seen_by_http(&self, host: &HostName) -> Option<bool> {
        let path = format!("{PREFIX}{PROBE}");
        let expected = self.challenges.answer(&path)?;
        let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{host}{path}").parse().ok()?;
        let asked = async {
            let body = client.get(uri).await.ok()?.into_body();
            Limited::new(body, 1024).collect().await.ok().map(|body| body.to_bytes())
        };
        let body = timeout(PROBING, asked).await.ok()??;
        Some(body.trim_ascii() == expected.as_bytes())
    }

    /// Puts up the answer that the authority is to see.
    ///
    /// # Errors
    /// When a certificate for the handshake cannot be made, or the hook fails.
    pub(super) async fn show(
        &self,
        host: &HostName,
        way: &ChallengeType,
        token: &str,
        answer: &KeyAuthorization,
    ) -> Result<Shown, Failure> {
        let expected = match way {
            ChallengeType::Http01 => self.challenges.expect_token(token, answer.as_str()),
            ChallengeType::TlsAlpn01 => self
                .challenges
                .expect_handshake(host, answer.digest().as_ref())
                .map_err(|error| failed(format!("cannot make a certificate for the handshake: {error}")))?,
            _ => {
                let name = format!("_acme-challenge.{}", host.as_str().trim_start_matches("*."));
                let value = answer.dns_value();
                self.call_hook("present", &name, &value).await?;
                return Ok(Shown { _expected: None, record: Some((name, value)) });
            }
        };
        // A server that does not confirm the answer in time may have it all the same.
        timeout(SPREADING, self.challenges.settled()).await.ok();
        Ok(Shown { _expected: Some(expected), record: None })
    }

    /// Takes down an answer that was put up.
    pub(super) async fn take_down(&self, shown: Shown) {
        let Some((name, value)) = &shown.record else { return };
        if let Err(failure) = self.call_hook("cleanup", name, value).await {
            tracing::warn!(name, problem = failure.text, "a DNS record was not removed");
        }
    }

    async fn call_hook(&self, what: &str, name: &str, value: &str) -> Result<(), Failure> {
        match &self.hook {
            Some(hook) => hook::run(hook, &[what, name, value]).await,
            None => Err(failed("a DNS record needs a program that sets it: tls.acme_hook".into())),
        }
    }
}

/// Whether something takes connections at the host's name on port 443, the port that an authority would come to (RFC
/// 8737 §3).
async fn answers_https(host: &HostName) -> bool {
    let connected = timeout(PROBING, TcpStream::connect(format!("{host}:443"))).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

/// The way's name for people.
pub(super) fn name_of(way: &ChallengeType) -> &str {
    match way {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Unknown(name) => name,
        _ => "another challenge",
    }
}

fn failed(text: String) -> Failure {
    Failure::new(FailureKind::Challenge, text)
}

/// A token that no authority sends: the solver asks its own machine for it.
pub(super) const PROBE: &str = "this-server-asks-itself-here";
const PROBING: Duration = Duration::from_secs(3);
/// How long it may take until all servers of the machine have an answer.
const SPREADING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn solver(wish: Challenge, hook: bool) -> Solver {
        Solver { challenges: Challenges::default(), wish, hook: hook.then(|| "/bin/true".into()) }
    }

    #[tokio::test]
    async fn the_settings_choose_and_what_is_not_offered_is_told() {
        use ChallengeType::{Dns01, Http01, TlsAlpn01};
        let host: HostName = "a.example".parse().unwrap();
        let wildcard: HostName = "*.a.example".parse().unwrap();
        let all = [Http01, Dns01, TlsAlpn01];
        for (wish, expected) in
            [(Challenge::Http, Http01), (Challenge::TlsAlpn, TlsAlpn01), (Challenge::Dns, Dns01)]
        {
            assert_eq!(solver(wish, true).choose(&host, &all, 1).await.unwrap(), expected);
        }
        assert_eq!(solver(Challenge::Auto, true).choose(&wildcard, &[Dns01], 1).await.unwrap(), Dns01);
        let failure = solver(Challenge::Auto, false).choose(&wildcard, &[Dns01], 1).await.unwrap_err();
        assert!(failure.text.contains("tls.acme_hook"));
        let failure = solver(Challenge::Http, false).choose(&host, &[Dns01], 1).await.unwrap_err();
        assert_eq!(failure.text, "the authority does not offer http-01");
    }

    #[test]
    fn where_plain_http_is_not_seen_each_attempt_takes_another_way_and_the_likely_one_first() {
        use ChallengeType::{Dns01, Http01, TlsAlpn01};
        let all = [Http01, Dns01, TlsAlpn01];
        for (hook, answers_https, offered, ways) in [
            (false, true, &all[..], [TlsAlpn01, Http01, TlsAlpn01]),
            (false, false, &all, [Http01, TlsAlpn01, Http01]),
            (true, true, &all, [TlsAlpn01, Dns01, Http01]),
            (true, false, &all, [Dns01, Http01, TlsAlpn01]),
            (false, true, &all[..2], [Http01, Http01, Http01]),
        ] {
            let solver = solver(Challenge::Auto, hook);
            let taken = [1, 2, 3].map(|attempt| solver.other_way(answers_https, offered, attempt));
            assert_eq!(taken, ways, "hook {hook}, 443 answers {answers_https}");
        }
    }
}
