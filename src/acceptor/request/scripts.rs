//! Finds the script of a PHP app that a request means; a request that means no script is answered here, with a file, a
//! redirect to a folder, or 404. Requests for files of `static` of any app are answered here, too.
//!
//! Never here: looking a path up (`crate::files`), or asking a worker.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::files::scripts::{DocumentRoot, Meant, Script};
use crate::spec::Rules;

use super::reply::{self, TEXT};
use super::sent_file::{self, of_site, request_for};
use super::worker_target::WorkerTarget;
use crate::acceptor::upstream::reply_body::Reply;

/// The target of a request's path.
pub(in crate::acceptor) enum Resolved {
    /// A worker is to answer; it runs the script, if there is one.
    Worker(Option<Box<Script>>),
    Answered(Reply),
}

/// Looks the request's path up. Files are read as the client takes them.
pub(super) async fn resolve(rules: &Rules, parts: &Parts, target: &WorkerTarget<'_>) -> Resolved {
    if !rules.files.is_empty()
        && let Some(file) = sent_file::answer(rules, parts, target).await
    {
        return Resolved::Answered(file);
    }
    let Some(folder) = rules.scripts.0.as_deref() else { return Resolved::Worker(None) };
    let answer = match folder.find(target.uri().path()) {
        Meant::Script(script) => return Resolved::Worker(Some(Box::new(script))),
        Meant::File(path) => Some(send(folder, &path, parts).await),
        Meant::Folder => to_folder(&parts.method, target),
        Meant::Nothing => None,
    };
    let missing = || reply::plain(StatusCode::NOT_FOUND, TEXT, Bytes::from_static(b"Not found\n"));
    Resolved::Answered(answer.unwrap_or_else(missing))
}

async fn send(folder: &DocumentRoot, path: &str, parts: &Parts) -> Reply {
    let request = request_for(parts.method.clone(), parts.headers.clone());
    of_site(folder.site().file(path, &request).await)
}

/// The redirect to a folder's path with `/` at its end, so that the relative links of its page lead into it.
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
