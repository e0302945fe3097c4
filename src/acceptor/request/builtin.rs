//! Owns the answers that the server gives by itself before any host is looked up: `/server` and `/status`; and
//! redirects to HTTPS.
//!
//! Both paths are for loopback peers that speak for themselves, unless a setting opens them, because `/status` has host
//! names. Never here: failures (`reply`).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};
use serde_json::json;

use crate::directory::HostRoutes;

use super::redirect;
use super::reply;
use super::reply::{JSON, TEXT};
use super::route::Host;
use crate::acceptor::error::ServeError;
use crate::acceptor::peer::is_forwarded;
use crate::acceptor::thread::shard::{Connection, Role, Shard};
use crate::acceptor::upstream::reply_body::Reply;

/// The answer, when the path is one of the two and the client may ask. Clients of a proxy on this machine may not: the
/// proxy passes a public host name on, adds a forwarding field, or speaks HTTP/1.0.
pub(in crate::acceptor) fn answer(conn: &Connection, parts: &Parts, host: &Host<'_>) -> Option<Reply> {
    let path = parts.uri.path();
    let ours = matches!(path, "/server" | "/status") && matches!(parts.method, Method::GET | Method::HEAD);
    let local = || {
        conn.peer.address.is_loopback()
            && parts.version > Version::HTTP_10
            && is_of_this_machine(&host.name)
            && !is_forwarded(&parts.headers)
    };
    if !ours || !(conn.shard.own_answers.status_for_all || local()) {
        return None;
    }
    let mut response = match path {
        "/server" => reply::plain(StatusCode::OK, TEXT, Bytes::from_static(b"ok")),
        _ => reply::plain(StatusCode::OK, JSON, Bytes::from(status(&conn.shard))),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// The answer to an authority that asks whether a name leads here (RFC 8555 §8.3): by plain HTTP, for hosts of this
/// server and of others on the machine, before any setting of the host. Without an account at an authority the path is
/// like any other.
pub(in crate::acceptor) fn challenge(conn: &Connection, parts: &Parts, host: &Host<'_>) -> Option<Reply> {
    let asked = conn.role != Role::Https && matches!(parts.method, Method::GET | Method::HEAD);
    let challenges = &conn.shard.own_answers.challenges;
    let answer = challenges.answer(parts.uri.path()).filter(|_| asked)?;
    if !challenges.is_elsewhere(&host.name) {
        conn.shard.directory.lookup(&host.name)?;
    }
    let mut response = reply::plain(StatusCode::OK, "application/octet-stream", Bytes::from(answer));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Whether the host is a name that never leaves the machine (RFC 6761 §6.3), or a loopback address.
fn is_of_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The object that the original rip-server answered; `rip-serverctl status` says more.
fn status(shard: &Shard) -> String {
    let own = &shard.own_answers;
    let mut hosts = shard.directory.hosts();
    hosts.sort();
    let mut apps: Vec<_> = Vec::new();
    for host in &hosts {
        for route in shard.directory.lookup(host.as_str()).iter().flat_map(HostRoutes::all) {
            if !apps.iter().any(|app| Arc::ptr_eq(app, &route.app)) {
                apps.push(Arc::clone(&route.app));
            }
        }
    }
    let healthy = !apps.is_empty() && apps.iter().all(|app| app.pool.can_serve());
    let workers: usize = apps.iter().map(|app| app.pool.routable()).sum();
    let value = json!({
        "status": if healthy { "healthy" } else { "degraded" },
        "app": apps.first().map(|app| app.name.as_str()),
        "apps": apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        "workers": workers,
        "ports": { "http": own.http_port, "https": own.https_port },
        "uptime": own.started.elapsed().as_secs(),
        "hosts": hosts,
    });
    format!("{value}\n")
}

/// Redirects a plain request to HTTPS (RFC 9110 §15.4): only for registered hosts, and always to the server's own port.
///
/// # Errors
/// [`ServeError::UnknownHost`].
pub(in crate::acceptor) fn redirect(
    conn: &Connection,
    host: &Host<'_>,
    method: &Method,
    uri: &Uri,
) -> Result<Reply, ServeError> {
    if conn.shard.directory.lookup(&host.name).is_none() {
        return Err(ServeError::UnknownHost);
    }
    // A target of `*` would become a part of the host's name.
    let target = uri
        .path_and_query()
        .map(PathAndQuery::as_str)
        .filter(|target| target.starts_with('/'))
        .unwrap_or("/");
    let location = match conn.shard.own_answers.https_port {
        None | Some(443) => format!("https://{}{target}", host.name),
        Some(port) => format!("https://{}:{port}{target}", host.name),
    };
    redirect::moved(method, location)
}
