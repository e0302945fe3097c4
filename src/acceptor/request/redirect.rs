//! Owns the answers that redirect clients: to HTTPS, and to where an app's settings say.
//!
//! Never here: where that is (`spec`).

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::directory::Route;
use crate::spec::Rules;

use super::reply;
use super::reply::TEXT;
use super::worker_target::WorkerTarget;
use crate::acceptor::error::ServeError;
use crate::acceptor::upstream::reply_body::Reply;

/// The answer, if the app redirects the host or the path.
///
/// # Errors
/// [`ServeError::Malformed`] when different programs would read the path differently.
pub(super) fn answer(
    parts: &Parts,
    route: &Route,
    target: &WorkerTarget<'_>,
    rules: &Rules,
) -> Result<Option<Reply>, ServeError> {
    if rules.redirects.is_empty() {
        return Ok(None);
    }
    if let Some(to) = rules.redirects.of_host(route.name.host()) {
        // A target of `*` would become a part of the host's name.
        let sent = parts.uri.path_and_query().map(PathAndQuery::as_str);
        let sent = sent.filter(|sent| sent.starts_with('/')).unwrap_or("/");
        return moved(&parts.method, format!("{to}{sent}")).map(Some);
    }
    let Some(to) = rules.redirects.of_path(target.uri().path())? else { return Ok(None) };
    // Redirected paths are the app's: the prefix that led to the app stands before them.
    let prefix = if to.starts_with('/') { target.prefix() } else { "" };
    let query = target.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    moved(&parts.method, format!("{prefix}{to}{query}")).map(Some)
}

/// Redirects a client for good, with the same method (RFC 9110 §15.4).
///
/// # Errors
/// [`ServeError::Malformed`].
pub(super) fn moved(method: &Method, location: String) -> Result<Reply, ServeError> {
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let location =
        HeaderValue::try_from(location).map_err(|_| ServeError::Malformed("its target is not a URI"))?;
    let mut response = reply::plain(status, TEXT, Bytes::new());
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
