//! Owns files as answers: those of `static`, and the conversion between the data path's requests and answers and those
//! of `crate::files`.
//!
//! Never here: which file a worker names (`accel`), or which script a path means (`scripts`).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;

use crate::files::site::Body;
use crate::spec::Rules;

use super::redirect::moved;
use super::worker_target::WorkerTarget;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::clean_answer;

/// The answer with a file of `static`; `None`: the app answers. Cancel-safe.
pub(super) async fn answer(rules: &Rules, parts: &Parts, target: &WorkerTarget<'_>) -> Option<Reply> {
    // A path that may be read in several ways is no file's path.
    let (mount, rest) = rules.files.at_sent(target.uri().path()).ok().flatten()?;
    let folder = mount.folder.as_deref()?;
    if mount.fallback && !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let prefix = format!("{}{}", target.prefix(), mount.path().trim_end_matches('/'));
    let query = target.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = request_for(parts.method.clone(), parts.headers.clone());
    *request.uri_mut() = match rest {
        "" => Uri::from_static("/"),
        rest => PathAndQuery::try_from(format!("{rest}{query}")).map(Uri::from).ok()?,
    };
    request.headers_mut().insert(FORWARDED_PREFIX, HeaderValue::try_from(&prefix).ok()?);
    let found = match mount.fallback {
        true => folder.find(request).await.filter(|answer| answer.status() != StatusCode::NOT_FOUND)?,
        false => folder.answer(request).await?,
    };
    if rest.is_empty()
        && matches!(found.status(), StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT)
    {
        // The redirect lets the relative links of the folder's page lead into it.
        return moved(&parts.method, format!("{prefix}/{query}")).ok();
    }
    Some(of_site(found))
}

/// A request for a file.
pub(super) fn request_for(method: Method, headers: HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    request
}

/// A site's answer as an answer to a client.
pub(super) fn of_site(answer: Response<Body>) -> Reply {
    let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut answer = answer.map(|body| match body.size_hint().exact() {
        Some(0) => ReplyBody::full(Bytes::new()),
        exact => ReplyBody::file(body, exact.or(length)),
    });
    // Fields that static workers send to the server.
    clean_answer(answer.headers_mut(), false);
    Box::new(answer)
}

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
