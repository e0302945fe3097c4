//! Which script of a PHP app a request means; a request that means no script is answered here: with a file, with the
//! way to a folder, or with 404.
//!
//! Never here: looking a path up (`crate::files`), or asking a worker.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::Empty;

use crate::files::scripts::{DocumentRoot, Meant, Script};

use super::reply::{self, TEXT};
use super::worker_target::WorkerTarget;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::clean_answer;

/// What a request comes to.
pub(in crate::acceptor) enum Resolved {
    Script(Box<Script>),
    Answered(Reply),
}

/// Looks the request's path up. Files are opened in place, and read as the client takes them.
pub(super) async fn resolve(folder: &DocumentRoot, parts: &Parts, target: &WorkerTarget<'_>) -> Resolved {
    let answer = match folder.find(target.uri().path()) {
        Meant::Script(script) => return Resolved::Script(Box::new(script)),
        Meant::File(path) => send(folder, &path, parts).await,
        Meant::Folder => to_folder(&parts.method, target),
        Meant::Nothing => None,
    };
    let missing = || reply::plain(StatusCode::NOT_FOUND, TEXT, Bytes::from_static(b"Not found\n"));
    Resolved::Answered(answer.unwrap_or_else(missing))
}

async fn send(folder: &DocumentRoot, path: &str, parts: &Parts) -> Option<Reply> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = parts.headers.clone();
    let answer = folder.site().file(path, &request).await;
    let mut answer = answer.map(|body| match body.size_hint().exact() {
        Some(0) => ReplyBody::full(Bytes::new()),
        length => ReplyBody::file(body, length),
    });
    // What static workers say to the server.
    clean_answer(answer.headers_mut(), false);
    Some(Box::new(answer))
}

/// So that the relative links of its page lead into it.
fn to_folder(method: &Method, target: &WorkerTarget<'_>) -> Option<Reply> {
    let uri = target.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{}{}/{query}", target.prefix(), uri.path())).ok()?;
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let mut answer = reply::plain(status, TEXT, Bytes::from_static(b"Moved\n"));
    answer.headers_mut().insert(header::LOCATION, location);
    Some(answer)
}
