//! Files below a root: opened so that every way out of it is refused, by the kernel where it may.
//!
//! Never here: which files may be seen; the code that makes a [`Beneath`] says that.

use std::ffi::OsString;
use std::fs::Metadata;
use std::future::{Ready, ready};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, SeekFrom, openat2};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File};

use super::step_lookup::{self, Seen};

/// A folder whose files can be opened, and no file outside of it.
///
/// The folder is looked up for every file, so that a build which replaces it is seen at once.
#[derive(Clone, Debug)]
pub(crate) struct Beneath {
    root: Arc<Path>,
    /// The folder in the root that paths begin in; empty: the root itself.
    within: Arc<Path>,
    /// Folders outside the root that links may lead to; none has a link in its own path.
    follow: Arc<[PathBuf]>,
    /// Files that count as missing, by whatever name and link.
    secrets: Arc<[PathBuf]>,
    seen: Seen,
}

impl Beneath {
    /// `seen` judges the targets of symbolic links; the caller judges a path without links.
    ///
    /// # Errors
    /// When `root` is not a folder that can be read.
    pub(crate) fn new(root: &Path, seen: Seen) -> io::Result<Self> {
        let (within, follow, secrets) = (Path::new("").into(), [].into(), [].into());
        let beneath = Self { root: root.into(), within, follow, secrets, seen };
        beneath.descriptor(Path::new("."), OFlags::PATH)?;
        Ok(beneath)
    }

    /// A folder whose paths begin in `within` of `root`. Links, absolute ones too, may lead to all of `root` and to the
    /// folders of `follow`; neither `root` nor any of these has a link in its own path.
    pub(super) fn within(root: &Path, within: &Path, follow: &[PathBuf], seen: Seen) -> Self {
        let follow = std::iter::once(root.to_owned()).chain(follow.iter().cloned()).collect();
        Self { root: root.into(), within: within.into(), follow, secrets: [].into(), seen }
    }

    /// Returns this folder without the files `secrets`, wherever they are.
    pub(crate) fn without(self, secrets: &[PathBuf]) -> Self {
        Self { secrets: secrets.into(), ..self }
    }

    /// Whether a path below the root without any link may be seen.
    pub(super) fn shows(&self, path: &str) -> bool {
        (self.seen)(&path.split('/').filter(|name| !name.is_empty()).map(Into::into).collect::<Vec<_>>())
    }

    /// The metadata of `path`, symbolic links followed.
    pub(crate) fn look(&self, path: &Path) -> io::Result<Metadata> {
        let meta = self.descriptor(path, OFlags::PATH)?.metadata()?;
        if meta.is_file() || meta.is_dir() { Ok(meta) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Opens a file, or whatever else has that name.
    pub(super) fn open(&self, path: &Path) -> io::Result<std::fs::File> {
        // NONBLOCK: opening a named pipe must not wait for its writer.
        self.descriptor(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    fn read(&self, path: &Path) -> io::Result<Opened> {
        let file = self.open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Opened { file: tokio::fs::File::from_std(file), meta, start: 0 })
    }

    fn descriptor(&self, path: &Path, flags: OFlags) -> io::Result<std::fs::File> {
        let path = if self.within.as_os_str().is_empty() { path } else { &self.within.join(path) };
        let opened = match open_beneath(&self.root, path, flags, self.seen) {
            Err(Errno::XDEV) if !self.follow.is_empty() => self.follow_out(path, flags),
            opened => opened,
        };
        let opened = opened.map(std::fs::File::from).map_err(|errno| match errno {
            // A way out of the root, a loop of links and a name that no file can have count as missing files.
            Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG => io::ErrorKind::NotFound.into(),
            Errno::NOTDIR => io::ErrorKind::NotADirectory.into(),
            other => io::Error::from(other),
        })?;
        if self.secrets.is_empty() || !self.is_secret(&opened.metadata()?) {
            return Ok(opened);
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Whether an opened file is one of the secrets. The secrets are looked up each time: a file that is replaced is
    /// another one under the same name.
    fn is_secret(&self, opened: &Metadata) -> bool {
        let is = |secret: &Metadata| (secret.dev(), secret.ino()) == (opened.dev(), opened.ino());
        self.secrets.iter().any(|secret| secret.metadata().is_ok_and(|secret| is(&secret)))
    }

    /// Opens a path with a link that leads out of the root or is absolute. The link's target is found first, and then
    /// opened without any link on the way.
    fn follow_out(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let real = self.root.join(path).canonicalize();
        let real = real.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
        let mut found =
            self.follow.iter().filter_map(|folder| Some((folder, real.strip_prefix(folder).ok()?)));
        let (folder, rest) = found.next().ok_or(Errno::XDEV)?;
        let names: Vec<OsString> = rest.iter().map(Into::into).collect();
        if !(self.seen)(&names) {
            return Err(Errno::NOENT);
        }
        let rest = if names.is_empty() { Path::new(".") } else { rest };
        open_beneath(folder, rest, flags, self.seen)
    }
}

/// Returns those of `files` that may be found in the folders, whose paths have no links. A file with several names may
/// have one of them anywhere.
pub(crate) fn reachable<'a>(
    files: &[PathBuf],
    folders: impl Iterator<Item = &'a Path> + Clone,
) -> Vec<PathBuf> {
    let is_reachable = |file: &&PathBuf| {
        let is_inside = |real: PathBuf| folders.clone().any(|folder| real.starts_with(folder));
        file.canonicalize().is_ok_and(is_inside) || file.metadata().is_ok_and(|meta| meta.nlink() > 1)
    };
    files.iter().filter(is_reachable).cloned().collect()
}

fn open_beneath(folder: &Path, path: &Path, flags: OFlags, seen: Seen) -> Result<OwnedFd, Errno> {
    let of_folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, folder, of_folder, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        // There is a link on the way, or the kernel does not know the call (Linux before 5.6, gVisor, filters of older
        // container engines).
        Err(Errno::LOOP | Errno::NOSYS) => step_lookup::open_beneath(folder.as_fd(), path, flags, seen),
        opened => opened,
    }
}

/// Files are opened and looked at in place: a look-up in cached folders costs less than handing it to a thread.
impl Backend for Beneath {
    type File = Opened;
    type Metadata = Metadata;
    type OpenFuture = Ready<io::Result<Opened>>;
    type MetadataFuture = Ready<io::Result<Metadata>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        ready(self.read(&path))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(self.look(&path))
    }
}

/// An open file with the metadata of its opening, from which the headers are made.
#[derive(Debug)]
pub(crate) struct Opened {
    file: tokio::fs::File,
    meta: Metadata,
    /// The offset in bytes at which reading begins, if that was set.
    start: u64,
}

impl File for Opened {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.meta.clone()))
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

/// A seek happens only before the first read, where no disk has to be waited for and no thread is needed.
impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        let position = match position {
            io::SeekFrom::Start(at) => SeekFrom::Start(at),
            io::SeekFrom::End(back) => SeekFrom::End(back),
            io::SeekFrom::Current(on) => SeekFrom::Current(on),
        };
        self.start = rustix::fs::seek(&self.file, position)?;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.start))
    }
}
