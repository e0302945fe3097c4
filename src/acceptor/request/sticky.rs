//! Owns what a request wants of its worker: the generation of its client, and the worker that the client has, with the
//! cookie that says which: read, kept from the worker, and set.
//!
//! Never here: which worker a client gets (`pool`), or the text that means one (`thread::worker_seal`).

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};

use crate::directory::{App, Route};
use crate::name::{AppName, ClientNet, PathPrefix};
use crate::pool::{Affinity, ClaimTerms, WantedGeneration};
use crate::spec::{Rules, Sticky};

use crate::acceptor::peer::RequestClient;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::upstream::outgoing::RequestTerms;
use crate::acceptor::upstream::reply_body::Reply;

/// The settings for a client's requests, and which generation is to answer them.
#[inline]
pub(super) fn rules_for(app: &App, client: Option<ClientNet>) -> (Arc<Rules>, WantedGeneration) {
    let rules = app.rules.load_full();
    match rules.canary.rules_for(&app.name, client) {
        None => (rules, WantedGeneration::Current),
        Some(canary) => (canary, WantedGeneration::Canary),
    }
}

/// The worker or generation that a request has to get; `None`: any worker of the current generation will do.
pub(super) fn terms_of(
    conn: &Connection,
    headers: &HeaderMap,
    app: &AppName,
    (sticky, generation): (Sticky, WantedGeneration),
) -> Option<Box<RequestTerms>> {
    let seal = &conn.shard.server.worker_seal;
    let affinity = match sticky {
        Sticky::Off if generation == WantedGeneration::Current => return None,
        Sticky::Off => None,
        Sticky::Address => Some(Affinity::Address),
        // The path above an app's may have a cookie of the same name, which is another app's.
        Sticky::Cookie => Some(Affinity::Shown(own_cookies(headers).find_map(|value| seal.open(app, value)))),
    };
    Some(Box::new(RequestTerms { claim: ClaimTerms { affinity, generation }, claimed: None }))
}

/// Whether the client sends such a cookie, of this app or of another one.
pub(super) fn is_shown(headers: &HeaderMap) -> bool {
    own_cookies(headers).next().is_some()
}

/// Takes such cookies out of a request's fields: they are no business of workers.
pub(super) fn take_out(headers: &mut HeaderMap) {
    let rest = |field: &HeaderValue| {
        let kept: Vec<&[u8]> = pairs(field).filter(|pair| own_value(pair).is_none()).collect();
        HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|rest| !rest.is_empty())
    };
    let kept: Vec<_> = headers.get_all(header::COOKIE).iter().filter_map(rest).collect();
    headers.remove(header::COOKIE);
    for field in kept {
        headers.append(header::COOKIE, field);
    }
}

/// Tells the client which worker it has from now on, if it did not show that itself. An answer that caches may give to
/// others tells nothing: they would all come to the same worker.
pub(super) fn tell(
    conn: &Connection,
    terms: &RequestTerms,
    (route, client, proto): (&Route, &RequestClient<'_>, &str),
    reply: &mut Reply,
) {
    let Some(Affinity::Shown(shown)) = terms.claim.affinity else { return };
    let Some(worker) = terms.claimed.filter(|worker| shown != Some(*worker)) else { return };
    if is_for_all(reply.headers()) {
        return;
    }
    let Some(value) = conn.shard.server.worker_seal.seal(&route.app.name, worker) else { return };
    // A proxy in front may have taken a prefix away.
    let said = client.told.as_ref().and_then(|told| told.prefix.as_ref());
    let path: String = said.into_iter().chain(route.name.prefix()).map(PathPrefix::as_str).collect();
    let path = if path.is_empty() { "/" } else { &path };
    let secure = if proto == "https" { "; Secure" } else { "" };
    let cookie = format!("{NAME}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// Whether shared caches may keep an answer that has a cookie (RFC 9111 §5.2.2.9, §5.2.2.10).
fn is_for_all(headers: &HeaderMap) -> bool {
    let shared = |directive: &[u8]| {
        let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
    };
    let mut fields = headers.get_all(header::CACHE_CONTROL).iter();
    fields.any(|field| field.as_bytes().split(|byte| *byte == b',').any(shared))
}

fn own_cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).iter().flat_map(pairs).filter_map(own_value)
}

fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn own_value(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")
}

const NAME: &str = "rip-sticky";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(cookies: &[&'static str]) -> HeaderMap {
        let fields = cookies.iter().map(|text| (header::COOKIE, HeaderValue::from_static(text)));
        fields.collect()
    }

    #[test]
    fn the_cookie_is_taken_out_and_all_others_stay() {
        for (before, after) in [
            (&["a=1; rip-sticky=x; b=2"][..], &["a=1; b=2"][..]),
            (&["rip-sticky=x"], &[]),
            (&["rip-sticky=x;rip-sticky=y;a=1"], &["a=1"]),
            (&["a=1", "rip-sticky=", "b=2"], &["a=1", "b=2"]),
            (
                &["my-rip-sticky=x; rip-stickyy=y; RIP-STICKY=z; a=rip-sticky=x"],
                &["my-rip-sticky=x; rip-stickyy=y; RIP-STICKY=z; a=rip-sticky=x"],
            ),
        ] {
            let mut headers = fields(before);
            take_out(&mut headers);
            assert_eq!(headers, fields(after), "{before:?}");
            assert!(!is_shown(&headers));
        }
        assert!(is_shown(&fields(&["a=1", "b=2; rip-sticky=x"])));
    }

    #[test]
    fn answers_that_shared_caches_keep_are_known() {
        for (text, expected) in [
            ("public, max-age=60", true),
            ("max-age=60,S-MaxAge=5", true),
            ("private", false),
            ("max-age=60", false),
            ("no-store, x-public", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(text));
            assert_eq!(is_for_all(&headers), expected, "{text}");
        }
    }
}
