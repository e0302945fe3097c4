//! Files below a root: opened so that every way out of it is refused, by the kernel where it may.
//!
//! Never here: which files are meant to be seen; whoever makes a [`Beneath`] says it.

use std::fs::Metadata;
use std::future::{Ready, ready};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File};

use super::step_lookup::{self, Seen};

/// A folder whose files can be opened, and nothing outside of it.
///
/// The folder is looked up for every file, so that a build which replaces it is seen at once.
#[derive(Clone, Debug)]
pub(super) struct Beneath {
    root: Arc<Path>,
    seen: Seen,
}

impl Beneath {
    /// `seen` is asked of what symbolic links lead to; a path without any is the caller's to judge.
    ///
    /// # Errors
    /// When `root` is not a folder that can be read.
    pub(super) fn new(root: &Path, seen: Seen) -> io::Result<Self> {
        let beneath = Self { root: root.into(), seen };
        beneath.descriptor(Path::new("."), OFlags::PATH)?;
        Ok(beneath)
    }

    /// What `path` is; symbolic links count as what they lead to.
    pub(super) fn look(&self, path: &Path) -> io::Result<Metadata> {
        let meta = self.descriptor(path, OFlags::PATH)?.metadata()?;
        if meta.is_file() || meta.is_dir() { Ok(meta) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn read(&self, path: &Path) -> io::Result<Opened> {
        // NONBLOCK: opening a named pipe must not wait for its writer.
        let file = self.descriptor(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Opened { file: tokio::fs::File::from_std(file), meta })
    }

    fn descriptor(&self, path: &Path, flags: OFlags) -> io::Result<std::fs::File> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &*self.root, folder, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // There is a link on the way, or the kernel does not know the call (Linux before 5.6, gVisor, filters of
            // older container engines).
            Err(Errno::LOOP | Errno::NOSYS) => {
                step_lookup::open_beneath(root.as_fd(), path, flags, self.seen)
            }
            opened => opened,
        };
        opened.map(Into::into).map_err(|errno| match errno {
            // A way out of the root, a loop of links, a name that no file can have: nothing is there.
            Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG | Errno::NOTDIR => io::ErrorKind::NotFound.into(),
            other => other.into(),
        })
    }
}

/// Opening and looking happen in place: a look-up in cached folders costs less than handing it to a thread.
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

/// An open file with the facts of its opening, which its headers are made from.
#[derive(Debug)]
pub(super) struct Opened {
    file: tokio::fs::File,
    meta: Metadata,
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

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
