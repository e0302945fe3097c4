//! Owns the checks of an order for a host, before there is one.
//!
//! Never here: ordering, or mending what a check finds.

mod caa;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::api::{CertPlan, CheckResult, PlanCheck};
use crate::challenges::{Challenges, PREFIX};
use crate::name::HostName;
use crate::spec::acme::{Acme, Challenge, LETS_ENCRYPT};

use super::names::Unobtainable;
use super::solve::PROBE;
use super::status::Limits;

/// The checker of orders: it looks for things that would be in an order's way.
pub(super) struct Planner {
    pub(super) acme: Acme,
    pub(super) challenges: Challenges,
}

impl Planner {
    /// Makes every check of the plan, in some seconds at most. Cancel-safe.
    pub(super) async fn plan(&self, host: &HostName, limits: Option<Limits>) -> CertPlan {
        let mut checks = vec![self.name(host), self.authority()];
        let mut not_checked =
            vec!["whether the authority answers, and what it has against the name".to_owned()];
        if checks[0].result != CheckResult::Bad {
            checks.push(self.challenge(host));
            if self.is_by_dns(host) {
                not_checked.push("whether the program sets the record".into());
            } else {
                let found = self.addresses(host, &mut checks).await;
                self.ports(host, &found, &mut checks).await;
                not_checked.push("the way that the authority's own connections take to this machine".into());
            }
            match timeout(ASKING_NAMES, caa::records(host)).await {
                Ok(Ok(records)) => checks.push(self.caa(host, &records)),
                Ok(Err(why)) => not_checked.push(format!("CAA records: {why}")),
                Err(_) => not_checked.push("CAA records: the name server is silent".into()),
            }
            not_checked.push(
                "signatures of DNS answers (DNSSEC), and other name servers than this machine's".into(),
            );
        }
        checks.extend(limits.map(|limits| limits.check()));
        let ready = checks.iter().all(|check| check.result != CheckResult::Bad);
        CertPlan { host: host.clone(), ready, checks, not_checked }
    }

    fn name(&self, host: &HostName) -> PlanCheck {
        match Unobtainable::of(host, &self.acme) {
            Some(why) => check("name", CheckResult::Bad, why.to_string()),
            None => check("name", CheckResult::Ok, "an authority may certify it".into()),
        }
    }

    fn authority(&self) -> PlanCheck {
        let profile = self.acme.profile.as_ref().map(|name| format!(", profile {name}")).unwrap_or_default();
        check("authority", CheckResult::Ok, format!("{}{profile}", self.acme.authorities.join(", then ")))
    }

    fn is_by_dns(&self, host: &HostName) -> bool {
        self.acme.challenge == Challenge::Dns
            || (host.is_wildcard() && self.acme.challenge == Challenge::Auto)
    }

    fn challenge(&self, host: &HostName) -> PlanCheck {
        let by_hook = |hook: &PathBuf| format!("dns-01, by `{}`", hook.display());
        let text = match (self.acme.challenge, &self.acme.hook) {
            _ if self.is_by_dns(host) => match &self.acme.hook {
                Some(hook) => by_hook(hook),
                None => {
                    let text = "dns-01 needs a program that sets DNS records: tls.acme_hook";
                    return check("challenge", CheckResult::Bad, text.into());
                }
            },
            (Challenge::Http, _) => "http-01, by port 80".into(),
            (Challenge::TlsAlpn, _) => "tls-alpn-01, by port 443".into(),
            (_, None) => "http-01; where port 80 is not seen to work tls-alpn-01, by port 443".into(),
            (_, Some(hook)) => {
                format!("http-01; where port 80 is not seen to work tls-alpn-01, or {}", by_hook(hook))
            }
        };
        check("challenge", CheckResult::Ok, text)
    }

    /// Checks where the name leads.
    async fn addresses(&self, host: &HostName, checks: &mut Vec<PlanCheck>) -> Vec<IpAddr> {
        let found = match host.address() {
            Some(address) => Ok(vec![address]),
            None => resolved(host).await,
        };
        let mut found = match found {
            Ok(found) => found,
            Err(why) => {
                checks.push(check("address", CheckResult::Bad, why));
                return Vec::new();
            }
        };
        found.sort();
        found.dedup();
        for address in &found {
            let record = if address.is_ipv6() { "AAAA" } else { "A" };
            checks.push(if UdpSocket::bind((*address, 0)).await.is_ok() {
                check("address", CheckResult::Ok, format!("{record} {address}, of this machine"))
            } else {
                let text = format!(
                    "{record} {address}, which no interface of this machine has: right only where something passes port \
                     80 of it on"
                );
                check("address", CheckResult::Doubtful, text)
            });
        }
        found
    }

    /// Checks what answers at the ports that the authority would come to. A bad port does no harm where the order can
    /// go by the other one.
    async fn ports(&self, host: &HostName, addresses: &[IpAddr], checks: &mut Vec<PlanCheck>) {
        for address in addresses {
            let mut of_address = Vec::new();
            if self.acme.challenge != Challenge::TlsAlpn {
                of_address.extend(self.port_80(host, *address).await);
            }
            let plain = of_address.iter().all(|check| check.result == CheckResult::Ok);
            let either = self.acme.challenge == Challenge::Auto;
            if self.acme.challenge == Challenge::TlsAlpn || (either && !plain) {
                let tls = port_443(*address).await;
                let stands_in = tls.result == CheckResult::Ok || self.acme.hook.is_some();
                for check in
                    of_address.iter_mut().filter(|check| stands_in && check.result == CheckResult::Bad)
                {
                    check.result = CheckResult::Doubtful;
                }
                of_address.push(tls);
            }
            checks.extend(of_address);
        }
    }

    async fn port_80(&self, host: &HostName, address: IpAddr) -> Option<PlanCheck> {
        let path = format!("{PREFIX}{PROBE}");
        let expected = self.challenges.answer(&path)?;
        let at = SocketAddr::new(address, 80);
        let (result, text) = match timeout(PROBING, asked(at, host, &path)).await {
            Ok(Ok((_, body))) if body.trim_ascii() == expected.as_bytes() => {
                (CheckResult::Ok, format!("{at} answers with our token"))
            }
            Ok(Ok((status, _))) => {
                let text = format!("{at} answers with something else (HTTP {status}): it is another server");
                (CheckResult::Bad, text)
            }
            Ok(Err(error)) => {
                (unreached(address).await, format!("{at} cannot be reached from here: {error}"))
            }
            Err(_) => {
                (unreached(address).await, format!("{at} does not answer here in {} s", PROBING.as_secs()))
            }
        };
        Some(check("port80", result, text))
    }

    /// Checks whether the owner of the name lets the authority issue (RFC 8659 §4).
    fn caa(&self, host: &HostName, records: &[caa::Record]) -> PlanCheck {
        let wild = host.is_wildcard() && records.iter().any(|record| record.tag == "issuewild");
        let tag = if wild { "issuewild" } else { "issue" };
        let allowed: Vec<&str> =
            records.iter().filter(|record| record.tag == tag).map(|record| record.issuer()).collect();
        let public = self.acme.authorities.iter().any(|authority| authority == LETS_ENCRYPT);
        let shown = || {
            allowed
                .iter()
                .map(|name| if name.is_empty() { "nobody" } else { name })
                .collect::<Vec<_>>()
                .join(", ")
        };
        match () {
            () if allowed.is_empty() => {
                check("caa", CheckResult::Ok, "no CAA record says who may issue".into())
            }
            () if public && allowed.contains(&"letsencrypt.org") => {
                check("caa", CheckResult::Ok, "a CAA record lets letsencrypt.org issue".into())
            }
            () if public => {
                check("caa", CheckResult::Bad, format!("CAA records let issue only: {}", shown()))
            }
            () => check("caa", CheckResult::Doubtful, format!("CAA records let issue only: {}", shown())),
        }
    }
}

pub(super) fn check(name: &str, result: CheckResult, text: String) -> PlanCheck {
    PlanCheck { check: name.to_owned(), result, text }
}

/// Checks whether something takes connections on port 443; only a handshake would show who it is.
async fn port_443(address: IpAddr) -> PlanCheck {
    let at = SocketAddr::new(address, 443);
    match timeout(PROBING, TcpStream::connect(at)).await {
        Ok(Ok(_)) => check("port443", CheckResult::Ok, format!("{at} takes connections")),
        Ok(Err(error)) => {
            check("port443", unreached(address).await, format!("{at} cannot be reached from here: {error}"))
        }
        Err(_) => {
            let text = format!("{at} does not answer here in {} s", PROBING.as_secs());
            check("port443", unreached(address).await, text)
        }
    }
}

/// The result for an address at which nothing answers: bad for an address of this machine, doubtful for others, which
/// may be reached from elsewhere.
async fn unreached(address: IpAddr) -> CheckResult {
    match UdpSocket::bind((address, 0)).await {
        Ok(_) => CheckResult::Bad,
        Err(_) => CheckResult::Doubtful,
    }
}

async fn resolved(host: &HostName) -> Result<Vec<IpAddr>, String> {
    let looked = timeout(ASKING_NAMES, tokio::net::lookup_host((host.as_str(), 80))).await;
    match looked {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(format!("the name leads nowhere: {error}")),
        Err(_) => Err(format!("the name server does not answer in {} s", ASKING_NAMES.as_secs())),
    }
}

/// Asks an address by HTTP for the host's challenge, and returns status and body of the answer.
async fn asked(
    at: SocketAddr,
    host: &HostName,
    path: &str,
) -> Result<(u16, bytes::Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(at).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let request = http::Request::get(path)
        .header(http::header::HOST, host.as_str())
        .body(Empty::<bytes::Bytes>::new())?;
    let answered = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, 1024).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((parts.status.as_u16(), body))
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = answered => answer,
        Err(error) = &mut connection => Err(error.into()),
    }
}

const PROBING: Duration = Duration::from_secs(2);
const ASKING_NAMES: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn planner(authority: &str) -> Planner {
        Planner { acme: Acme::with(vec![authority.into()]), challenges: Challenges::default() }
    }

    fn results(plan: &CertPlan) -> Vec<(&str, CheckResult)> {
        plan.checks.iter().map(|check| (check.check.as_str(), check.result)).collect()
    }

    #[tokio::test]
    async fn a_name_that_gets_none_is_the_end_of_the_plan() {
        let plan = planner(LETS_ENCRYPT).plan(&"nas.local".parse().unwrap(), None).await;
        assert_eq!(results(&plan), [("name", CheckResult::Bad), ("authority", CheckResult::Ok)]);
        assert!(!plan.ready);
    }

    #[test]
    fn caa_records_say_who_may_issue() {
        let host: HostName = "a.example.com".parse().unwrap();
        let wildcard: HostName = "*.example.com".parse().unwrap();
        let record = |tag: &str, value: &str| caa::Record { tag: tag.into(), value: value.into() };
        let ours = record("issue", "letsencrypt.org; validationmethods=http-01");
        for (host, records, expected) in [
            (&host, vec![], CheckResult::Ok),
            (&host, vec![record("iodef", "mailto:a@example.com")], CheckResult::Ok),
            (&host, vec![ours.clone()], CheckResult::Ok),
            (&host, vec![record("issue", "other.example")], CheckResult::Bad),
            (&host, vec![record("issue", ";")], CheckResult::Bad),
            (&host, vec![ours.clone(), record("issuewild", ";")], CheckResult::Ok),
            (&wildcard, vec![ours.clone(), record("issuewild", ";")], CheckResult::Bad),
            (&wildcard, vec![ours], CheckResult::Ok),
        ] {
            assert_eq!(planner(LETS_ENCRYPT).caa(host, &records).result, expected, "{host} {records:?}");
        }
        let other = planner("https://ca.internal/dir").caa(&host, &[record("issue", "other.example")]);
        assert_eq!(other.result, CheckResult::Doubtful);
    }
}
