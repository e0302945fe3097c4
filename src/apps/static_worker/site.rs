//! A site: which file answers a request, and the small answers where none does.
//!
//! Never here: sockets, and reaching a file (`beneath`). Ranges, preconditions, entity tags and precompressed
//! files are tower-http's.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;

use super::StaticOptions;
use super::beneath::Beneath;

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A folder to serve; cheap to clone.
#[derive(Clone)]
pub(super) struct Site {
    options: Arc<StaticOptions>,
    files: Beneath,
    serve: ServeDir<DefaultServeDirFallback, Beneath>,
}

impl Site {
    /// # Errors
    /// When the root cannot be opened.
    pub(super) fn open(options: StaticOptions) -> io::Result<Self> {
        let files = Beneath::new(&options.root, is_seen)?;
        let serve = ServeDir::with_backend("", files.clone())
            .append_index_html_on_directories(false)
            // RFC 9110 §14.2 lets a server ignore Range; several parts at once are asked for by attackers only.
            .ignore_multi_range_requests(true)
            .precompressed_br()
            .precompressed_gzip()
            .precompressed_zstd();
        Ok(Self { options: Arc::new(options), files, serve })
    }

    /// Answers a request; its body is never looked at.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refusal = small(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match self.choose(request.uri()) {
            Choice::File(path) => self.file(&path, request).await,
            Choice::Redirect(location) => redirect(&location),
            Choice::Nothing => self.fallback(request).await,
        }
    }

    fn choose(&self, uri: &Uri) -> Choice {
        let Some(path) = plain_path(uri.path()) else { return Choice::Nothing };
        let folder = if path.is_empty() { "." } else { path.trim_end_matches('/') };
        let Ok(meta) = self.files.look(Path::new(folder)) else { return Choice::Nothing };
        if !meta.is_dir() {
            return if path.ends_with('/') { Choice::Nothing } else { Choice::File(path) };
        }
        let index = format!("{folder}/{}", self.options.index);
        if !self.files.look(Path::new(&index)).is_ok_and(|meta| meta.is_file()) {
            return Choice::Nothing;
        }
        if path.is_empty() || path.ends_with('/') {
            return Choice::File(index.trim_start_matches("./").to_owned());
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Choice::Redirect(format!("{}/{query}", uri.path()))
    }

    /// An unknown page of an app that draws its pages itself; an unknown picture stays unknown.
    async fn fallback<B>(&self, request: &Request<B>) -> Response<Body> {
        match &self.options.spa {
            Some(spa) if accepts_html(request.headers()) => self.file(spa, request).await,
            _ => self.missing(request).await,
        }
    }

    /// The site's own page for what is not there, whole: conditions and ranges speak of the page that was asked for.
    async fn missing<B>(&self, request: &Request<B>) -> Response<Body> {
        let own = self.files.look(Path::new(MISSING)).is_ok_and(|meta| meta.is_file());
        if !own || self.options.spa.is_some() {
            return not_found();
        }
        let coding = request.headers().get(header::ACCEPT_ENCODING);
        let headers = coding.map(|value| (header::ACCEPT_ENCODING, value.clone())).into_iter().collect();
        let mut page = self.serve_file(MISSING, request.method(), headers).await;
        if page.status() != StatusCode::OK {
            return not_found();
        }
        *page.status_mut() = StatusCode::NOT_FOUND;
        for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
            page.headers_mut().remove(name);
        }
        name_the_charset(page.headers_mut());
        page
    }

    async fn file<B>(&self, path: &str, request: &Request<B>) -> Response<Body> {
        let mut headers = request.headers().clone();
        if !self.range_holds(path, &headers).await {
            headers.remove(header::RANGE);
        }
        let mut response = self.serve_file(path, request.method(), headers.clone()).await;
        if headers.remove(header::RANGE).is_some_and(|range| is_all(&range, &response)) {
            response = self.serve_file(path, request.method(), headers).await;
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            // As the whole answer would say (RFC 9110 §15.4.5): a cache keeps one for each encoding.
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            // hyper writes none, whatever it is given: the connection may be kept.
            response.headers_mut().insert(NO_BODY, HeaderValue::from_static("1"));
        }
        name_the_charset(response.headers_mut());
        response
    }

    /// RFC 9110 §13.1.5: a range counts only while the file is still the one that `If-Range` names; §14.2: one
    /// in a unit that is not known does not count.
    async fn range_holds(&self, path: &str, headers: &HeaderMap) -> bool {
        let Some(range) = headers.get(header::RANGE) else { return true };
        if !range.as_bytes().starts_with(b"bytes=") {
            return false;
        }
        let Some(wanted) = headers.get(header::IF_RANGE) else { return true };
        let mut plain = HeaderMap::new();
        plain.extend(headers.get(header::ACCEPT_ENCODING).map(|v| (header::ACCEPT_ENCODING, v.clone())));
        let current = self.serve_file(path, &Method::HEAD, plain).await;
        [header::ETAG, header::LAST_MODIFIED].iter().any(|name| current.headers().get(name) == Some(wanted))
    }

    async fn serve_file(&self, path: &str, method: &Method, headers: HeaderMap) -> Response<Body> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers;
        *request.uri_mut() = uri_of(path);
        match self.serve.clone().try_call(request).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => not_found(),
            Ok(response) => response.map(BodyExt::boxed_unsync),
            Err(error) if is_absence(&error) => not_found(),
            Err(error) => {
                eprintln!("cannot serve `{path}`: {error}");
                small(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            }
        }
    }
}

/// Promises the server in front that no body follows an answer that has none.
const NO_BODY: HeaderName = HeaderName::from_static("rip-no-body");

/// Whether the answer to a range is not the one that is due, which is all of the file: of an empty file no byte can be
/// named in `Content-Range`, and a suffix that is longer than the file is the file (RFC 9110 §14.1.2).
fn is_all(range: &HeaderValue, response: &Response<Body>) -> bool {
    let said = response.headers().get(header::CONTENT_RANGE).map(HeaderValue::as_bytes).unwrap_or_default();
    match response.status() {
        StatusCode::PARTIAL_CONTENT => said.ends_with(b"/0"),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            range.as_bytes().strip_prefix(b"bytes=-").is_some_and(|suffix| {
                suffix.iter().all(u8::is_ascii_digit) && suffix.iter().any(|digit| *digit != b'0')
            })
        }
        _ => false,
    }
}

/// What answers a request.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// A file, relative to the root.
    File(String),
    /// The same folder with its slash, so that the relative links in its page lead into it.
    Redirect(String),
    Nothing,
}

/// The decoded path relative to the root, without its first slash; `None` for one that must not be looked up.
///
/// Hidden files are not served, except `/.well-known` (RFC 8615), nor is the app's own `rip.toml`, whose `env` may
/// hold secrets. An encoded slash or NUL is never part of a file's name, and an empty segment would make the
/// redirect to `//name/` lead to another host.
pub(super) fn plain_path(raw: &str) -> Option<String> {
    let raw = raw.strip_prefix('/')?;
    let mut path = String::new();
    let mut segments = raw.split('/').peekable();
    let mut first = true;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let name = decode(segment)?;
        let seen = part_is_seen(name.as_bytes(), first, last);
        if !seen || name.contains(['/', '\\', '\0']) || (name.is_empty() && !last) {
            return None;
        }
        path.push_str(&name);
        if !last {
            path.push('/');
        }
        first = false;
    }
    Some(path)
}

/// Whether a file may be served by its names below the root, wherever a link to it stands.
fn is_seen(names: &[OsString]) -> bool {
    let last = names.len().saturating_sub(1);
    names.iter().enumerate().all(|(at, name)| part_is_seen(name.as_bytes(), at == 0, at == last))
}

fn part_is_seen(name: &[u8], first: bool, last: bool) -> bool {
    let hidden = name.starts_with(b".") && !(first && name == b".well-known");
    let own = first && last && name == b"rip.toml";
    !hidden && !own
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The path as it stands in a request.
pub(super) fn uri_of(path: &str) -> Uri {
    let mut text = String::from("/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    // A path made of unreserved and encoded characters alone parses; only one of 64 KiB does not.
    text.parse().unwrap_or_default()
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

/// Without a charset browsers read text as Windows-1252.
fn name_the_charset(headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return };
    if value.starts_with("text/")
        && !value.contains("charset")
        && let Ok(value) = HeaderValue::from_str(&format!("{value}; charset=utf-8"))
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

fn redirect(location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return not_found() };
    let mut response = small(StatusCode::MOVED_PERMANENTLY, "Moved\n");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn not_found() -> Response<Body> {
    small(StatusCode::NOT_FOUND, "Not found\n")
}

fn small(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// What answers for an unknown page, as nginx configurations and static hosts have it.
const MISSING: &str = "404.html";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_or_refused() {
        let table = [
            ("/", Some("")),
            ("/a.txt", Some("a.txt")),
            ("/a/b/", Some("a/b/")),
            ("/gr%C3%BC%C3%9Fe%20x", Some("grüße x")),
            ("/.well-known/acme", Some(".well-known/acme")),
            ("/a/.well-known/x", None),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/b", None),
            ("/a/%2E%2E/b", None),
            ("/./a", None),
            ("//a", None),
            ("/a//b", None),
            ("/a%2fb", None),
            ("/a%5Cb", None),
            ("/a%00b", None),
            ("/%ff", None),
            ("/%2", None),
            ("/%zz", None),
            ("/rip.toml", None),
            ("/docs/rip.toml", Some("docs/rip.toml")),
            ("*", None),
        ];
        for (raw, expected) in table {
            assert_eq!(plain_path(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn a_file_name_survives_the_way_through_a_uri() {
        for name in ["a.txt", "grüße x/1?.txt", "100%/#.html", "a+b&c=d"] {
            assert_eq!(plain_path(uri_of(name).path()).as_deref(), Some(name));
        }
    }
}
