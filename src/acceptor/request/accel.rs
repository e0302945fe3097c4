//! Owns answers that name a file (`X-Accel-Redirect`, `X-Sendfile`): the file is sent in the answer's place, with the
//! answer's other fields.
//!
//! Never here: reading files (`crate::files`), or which folders there are (`spec/mounts`).

use std::path::{Path, PathBuf};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode};

use crate::files::request_path::decode;
use crate::files::sent_folder::{SentFolder, real_path};
use crate::name::RequestId;
use crate::spec::mounts::{Mount, Mounts};

use super::sent_file::{of_site, request_for};
use crate::acceptor::error::ServeError;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::is_bodiless;

/// A worker's answer, on its way to become a file.
pub(super) struct NamedFile<'a> {
    pub(super) accel: &'a Mounts,
    pub(super) parts: &'a Parts,
    pub(super) app: &'a str,
    pub(super) id: &'a RequestId,
}

impl NamedFile<'_> {
    /// Returns the file in place of the worker's answer, if the answer names one. The answer's body is dropped at once,
    /// and the worker is free when it has ended the body. Cancel-safe.
    ///
    /// # Errors
    /// [`ServeError::FileMissing`], [`ServeError::FileOutside`]; the log says what was asked for.
    pub(super) async fn in_place_of(&self, mut reply: Reply) -> Result<Reply, ServeError> {
        let named = [ACCEL_REDIRECT, SENDFILE].map(|name| Some((said(reply.headers(), &name)?, name)));
        let Some((said, name)) = named.into_iter().flatten().next() else { return Ok(reply) };
        let status = reply.status();
        if is_bodiless(status) {
            remove(reply.headers_mut(), &[ACCEL_REDIRECT, SENDFILE]);
            return Ok(reply);
        }
        let fields = std::mem::take(reply.headers_mut());
        *reply.body_mut() = ReplyBody::full(bytes::Bytes::new());
        // The file's status depends on the request, unless the worker says that it is the page of another status.
        let of_page = !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        let request = || self.request(of_page);
        let sent = match name == ACCEL_REDIRECT {
            true => self.redirected(&said, request).await,
            false => self.absolute(&said, request).await,
        };
        let mut file = sent.inspect_err(|error| {
            let folders = self.accel.to_string();
            tracing::warn!(app = self.app, request_id = %self.id, field = %name, asked = %said, folders, "{error}");
        })?;
        if of_page && file.status() == StatusCode::OK {
            *file.status_mut() = status;
        }
        merge(fields, file.headers_mut());
        Ok(file)
    }

    /// The request for the file: a page of another status is sent whole.
    fn request(&self, of_page: bool) -> Request<()> {
        let method = if self.parts.method == Method::HEAD { Method::HEAD } else { Method::GET };
        let is_plain = matches!(self.parts.method, Method::GET | Method::HEAD) && !of_page;
        let headers = if is_plain { self.parts.headers.clone() } else { HeaderMap::new() };
        request_for(method, headers)
    }

    /// Answers `X-Accel-Redirect`: a path of a folder of `accel`, decoded as nginx decodes it; what follows a `?` is
    /// ignored.
    async fn redirected(&self, said: &str, request: impl Fn() -> Request<()>) -> Result<Reply, ServeError> {
        let path = said.split('?').next().and_then(decode).ok_or(ServeError::FileOutside)?;
        if !path.starts_with('/') || path.contains('\0') || path.split('/').any(|part| part == "..") {
            return Err(ServeError::FileOutside);
        }
        let (mount, rest) = self.accel.at_plain(&path).ok_or(ServeError::FileOutside)?;
        let folder = mount.folder.as_deref().ok_or(ServeError::FileOutside)?;
        self.send(folder, rest, request()).await?.ok_or(ServeError::FileMissing)
    }

    /// Answers `X-Sendfile`: a file of a folder of `accel` by its absolute path, as it is written, else
    /// percent-decoded.
    async fn absolute(&self, said: &str, request: impl Fn() -> Request<()>) -> Result<Reply, ServeError> {
        let decoded = decode(said).filter(|decoded| decoded != said);
        let mut error = ServeError::FileOutside;
        for path in [Some(said.to_owned()), decoded].into_iter().flatten() {
            if !path.starts_with('/') || path.contains('\0') {
                continue;
            }
            let Some((folder, rest)) = self.find(Path::new(&path)).await else { continue };
            match self.send(folder, &rest, request()).await? {
                Some(file) => return Ok(file),
                None => error = ServeError::FileMissing,
            }
        }
        Err(error)
    }

    /// The folder that an absolute path lies in, and the rest of the path.
    async fn find(&self, path: &Path) -> Option<(&SentFolder, String)> {
        let folders = || self.accel.iter().filter_map(|mount: &Mount| mount.folder.as_deref());
        let holder = |path: &Path| folders().find_map(|folder| Some((folder, folder.path_of(path)?)));
        match holder(path) {
            Some(found) => Some(found),
            None => holder(&real_path(PathBuf::from(path)).await.ok()?),
        }
    }

    async fn send(
        &self,
        folder: &SentFolder,
        path: &str,
        request: Request<()>,
    ) -> Result<Option<Reply>, ServeError> {
        let answer = folder.send(path.to_owned(), request).await.map_err(|_| ServeError::FileMissing)?;
        Ok((answer.status() != StatusCode::NOT_FOUND).then(|| of_site(answer)))
    }
}

/// The value of a field; several values are joined, and then name no file.
fn said(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| String::from_utf8_lossy(&values.join(&b"\0, "[..])).into_owned())
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// Adds the worker's fields to those of the file, and lets them win, but for those about the worker's own body.
fn merge(mut worker: HeaderMap, file: &mut HeaderMap) {
    remove(&mut worker, &OF_THE_BODY);
    for name in worker.keys() {
        file.remove(name);
    }
    file.extend(worker);
}

const ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");
const SENDFILE: HeaderName = HeaderName::from_static("x-sendfile");
/// Fields about the body that the file replaces, and fields for the server alone.
static OF_THE_BODY: [HeaderName; 16] = [
    ACCEL_REDIRECT,
    SENDFILE,
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-accel-charset"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-limit-rate"),
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("repr-digest"),
];
