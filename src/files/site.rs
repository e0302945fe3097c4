//! A site: which file answers a request, and the small answers where none does.
//!
//! Never here: sockets, and reaching a file (`beneath`). Ranges, preconditions, entity tags and precompressed
//! files are tower-http's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;

use super::beneath::Beneath;
use super::request_path::{plain_path, uri_of};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A folder to serve; cheap to clone.
#[derive(Clone)]
pub(crate) struct Site {
    /// The file that stands for a folder.
    index: Arc<str>,
    /// The file that answers for an unknown page.
    spa: Option<Arc<str>>,
    files: Beneath,
    serve: ServeDir<DefaultServeDirFallback, Beneath>,
    /// Whether a client may get a precompressed file in place of the file itself.
    precompressed: bool,
}

impl Site {
    /// A site in which `index` stands for a folder, and `spa` answers for an unknown page. Both are paths relative to
    /// the root.
    pub(crate) fn new(files: Beneath, index: &str, spa: Option<&str>) -> Self {
        let plain = Self::plain(files);
        let serve = plain.serve.precompressed_br().precompressed_gzip().precompressed_zstd();
        Self { index: index.into(), spa: spa.map(Into::into), serve, precompressed: true, ..plain }
    }

    /// A site of plain files, each sent as it is.
    pub(crate) fn plain(files: Beneath) -> Self {
        let serve = ServeDir::with_backend("", files.clone())
            .append_index_html_on_directories(false)
            // RFC 9110 §14.2 lets a server ignore Range; only attackers ask for several parts at once.
            .ignore_multi_range_requests(true);
        Self { index: "".into(), spa: None, files, serve, precompressed: false }
    }

    /// Answers a request, without looking at its body.
    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if let Some(refusal) = not_allowed(request.method()) {
            return refusal;
        }
        match self.found(request).await {
            Some(answer) => answer,
            None => self.fallback(request).await,
        }
    }

    /// Answers a GET or a HEAD for which there is a file.
    pub(crate) async fn found<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        match self.choose(request.uri()) {
            SiteAnswer::File(path) => Some(self.file(&path, request).await),
            SiteAnswer::Redirect(location) => Some(redirect(request.headers(), &location)),
            SiteAnswer::Nothing => None,
        }
    }

    fn choose(&self, uri: &Uri) -> SiteAnswer {
        let Some(path) = plain_path(uri.path()) else { return SiteAnswer::Nothing };
        let folder = if path.is_empty() { "." } else { path.trim_end_matches('/') };
        let Ok(meta) = self.files.look(Path::new(folder)) else { return SiteAnswer::Nothing };
        if !meta.is_dir() {
            return if path.ends_with('/') || !self.files.shows(&path) {
                SiteAnswer::Nothing
            } else {
                SiteAnswer::File(path)
            };
        }
        let index = format!("{folder}/{}", self.index);
        if !self.files.look(Path::new(&index)).is_ok_and(|meta| meta.is_file()) {
            return SiteAnswer::Nothing;
        }
        if path.is_empty() || path.ends_with('/') {
            return SiteAnswer::File(index.trim_start_matches("./").to_owned());
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        SiteAnswer::Redirect(format!("{}/{query}", uri.path()))
    }

    /// Answers an unknown page of an app that draws its pages itself; an unknown picture stays unknown.
    async fn fallback<B>(&self, request: &Request<B>) -> Response<Body> {
        match &self.spa {
            Some(spa) if accepts_html(request.headers()) => self.file(spa, request).await,
            _ => self.missing(request).await,
        }
    }

    /// Answers with the site's own page for missing files, as a whole: conditions and ranges are about the page that
    /// was asked for.
    async fn missing<B>(&self, request: &Request<B>) -> Response<Body> {
        let own = self.files.look(Path::new(MISSING)).is_ok_and(|meta| meta.is_file());
        if !own || self.spa.is_some() {
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

    /// Answers a GET or a HEAD with the file, relative to the root; any other request with 405.
    pub(crate) async fn file<B>(&self, path: &str, request: &Request<B>) -> Response<Body> {
        if let Some(refusal) = not_allowed(request.method()) {
            return refusal;
        }
        let mut headers = request.headers().clone();
        if !self.range_holds(path, &headers).await {
            headers.remove(header::RANGE);
        }
        let mut response = self.serve_file(path, request.method(), headers.clone()).await;
        if headers.remove(header::RANGE).is_some_and(|range| is_all(&range, &response)) {
            response = self.serve_file(path, request.method(), headers).await;
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            if self.precompressed {
                // A 304 has the fields of the whole answer (RFC 9110 §15.4.5): a cache keeps one answer for each
                // encoding.
                response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            }
            // hyper writes no body for such an answer, whatever it is given, so that the connection may be kept.
            response.headers_mut().insert(NO_BODY, HeaderValue::from_static("1"));
        }
        name_the_charset(response.headers_mut());
        response
    }

    /// Whether a range counts: the file has to be still the one that `If-Range` names (RFC 9110 §13.1.5), and the unit
    /// has to be known (§14.2).
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

/// The field by which a worker promises the server that no body follows an answer without one.
const NO_BODY: HeaderName = HeaderName::from_static("rip-no-body");

/// Whether all of the file is due in place of the answer to a range: `Content-Range` can name no byte of an empty file,
/// and a suffix that is longer than the file is the whole file (RFC 9110 §14.1.2).
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

#[derive(Debug, PartialEq, Eq)]
enum SiteAnswer {
    /// A file, relative to the root.
    File(String),
    /// A redirect to the same folder with a slash, so that the relative links of its page lead into it.
    Redirect(String),
    Nothing,
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

/// Adds a charset to text, because browsers read text without one as Windows-1252.
fn name_the_charset(headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return };
    if value.starts_with("text/")
        && !value.contains("charset")
        && let Ok(value) = HeaderValue::from_str(&format!("{value}; charset=utf-8"))
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

fn not_allowed(method: &Method) -> Option<Response<Body>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut refusal = small(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(refusal)
}

/// The redirect to `location`, as this worker sees paths; the client's paths begin with the stripped prefix.
fn redirect(headers: &HeaderMap, location: &str) -> Response<Body> {
    let prefix = headers.get("x-forwarded-prefix").map(HeaderValue::as_bytes).unwrap_or_default();
    let Ok(location) = HeaderValue::from_bytes(&[prefix, location.as_bytes()].concat()) else {
        return not_found();
    };
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
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

/// The page for missing files, as nginx configurations and static hosts call it.
const MISSING: &str = "404.html";
