//! A folder whose files the server itself sends: those that a request's path means, and those that a worker names.
//!
//! Files are looked up and opened on threads for files, because a disk may be slow. Never here: who may ask, or the
//! folder's path in an app (`spec/mounts`).

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::beneath::{Beneath, reachable};
use super::request_path::is_seen;
use super::scripts::is_file_seen;
use super::site::{Body, Site};

/// A folder whose files are sent, and no file outside of it but those that its links to `follow` lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentFolder {
    /// The folder; no link is in its path.
    root: PathBuf,
    /// The folder's path as settings name it.
    said: PathBuf,
    /// Folders elsewhere that links may lead to; no link is in their paths.
    follow: Vec<PathBuf>,
    /// Files that are never sent.
    secrets: Vec<PathBuf>,
    /// Whether the folder may have source that must not be shown.
    has_scripts: bool,
}

impl SentFolder {
    /// Opens a folder.
    ///
    /// # Errors
    /// When it is not a folder that can be read.
    pub(crate) fn open(said: &Path, follow: &[PathBuf], has_scripts: bool) -> io::Result<Self> {
        let root = said.canonicalize()?;
        let folder =
            Self { root, said: said.to_owned(), follow: follow.to_vec(), secrets: Vec::new(), has_scripts };
        Beneath::new(&folder.root, is_seen)?;
        Ok(folder)
    }

    /// Returns this folder without the files `secrets`, whatever their names in it.
    pub(crate) fn without(self, secrets: &[PathBuf]) -> Self {
        let folders = [&self.root].into_iter().chain(&self.follow).map(PathBuf::as_path);
        Self { secrets: reachable(secrets, folders), ..self }
    }

    /// The folder's path, links followed.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path in this folder of a file with an absolute path; `None`: as far as can be read, the file is not in it.
    pub(crate) fn path_of(&self, absolute: &Path) -> Option<String> {
        let mut named =
            [&self.root, &self.said].into_iter().filter_map(|root| absolute.strip_prefix(root).ok());
        let rest = named.next()?;
        let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| rest.to_str().map(String::from)).flatten()
    }

    /// Answers a GET or a HEAD with the file at the path of the request's URI; `None`: there is none. Hidden files do
    /// not count.
    pub(crate) async fn find(&self, request: Request<()>) -> Option<Response<Body>> {
        let files = self.files(if self.has_scripts { is_file_seen } else { is_seen });
        off_thread(async move { Site::new(files, INDEX, None).found(&request).await }).await.ok()?
    }

    /// Answers as [`find`](Self::find) does, and with the folder's own page, or 404, where there is no file.
    pub(crate) async fn answer(&self, request: Request<()>) -> Option<Response<Body>> {
        let files = self.files(if self.has_scripts { is_file_seen } else { is_seen });
        off_thread(async move { Site::new(files, INDEX, None).answer(&request).await }).await.ok()
    }

    /// Answers a GET or a HEAD with the file, whatever its name; with 404 when it does not exist or may not be read.
    ///
    /// # Errors
    /// When the thread for it has ended.
    pub(crate) async fn send(&self, path: String, request: Request<()>) -> io::Result<Response<Body>> {
        let files = self.files(|_: &[OsString]| true);
        off_thread(async move { Site::plain(files).file(&path, &request).await }).await
    }

    fn files(&self, seen: fn(&[OsString]) -> bool) -> Beneath {
        Beneath::within(&self.root, Path::new(""), &self.follow, seen).without(&self.secrets)
    }
}

/// The path that an absolute path leads to, links followed.
///
/// # Errors
/// When nothing is there.
pub(crate) async fn real_path(path: PathBuf) -> io::Result<PathBuf> {
    off_thread(async move { path.canonicalize() }).await?
}

/// Does work that waits only for disks on a thread for files.
async fn off_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let runtime = Handle::current();
    spawn_blocking(move || runtime.block_on(work)).await.map_err(io::Error::other)
}

const INDEX: &str = "index.html";
