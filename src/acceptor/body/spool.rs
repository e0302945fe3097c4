//! Bytes put aside on disk, in a file without a name that is gone when dropped.
//!
//! File work is done on blocking threads, never on a thread that serves connections. Never here: what is put aside,
//! or when.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Reservation;

/// A file without a name.
#[derive(Clone, Debug)]
pub(in crate::acceptor) struct Spool {
    file: Arc<File>,
}

/// The disk space reserved for the file of an answer.
pub(in crate::acceptor) struct Space {
    /// The reservation in the space of all spool files.
    pub(in crate::acceptor) of_all: Reservation,
    /// The reservation in the space of the spool files of answers.
    pub(in crate::acceptor) of_answers: Reservation,
}

impl Space {
    /// Reserves space for a file of so many bytes; false when there is none. A file counts as a whole number of steps,
    /// and as one step when it is empty, because it holds a descriptor, too.
    pub(in crate::acceptor) fn reserve(&mut self, length: u64) -> bool {
        let bytes = length.max(1).next_multiple_of(STEP);
        // Answers may have no more space than all files together.
        self.of_all.grow_to(bytes) && self.of_answers.grow_to(bytes)
    }
}

impl Spool {
    /// Makes a file on the file system of `folder`.
    ///
    /// # Errors
    /// The file system's error: read-only, full, not there.
    pub(in crate::acceptor) async fn create(folder: &Path) -> io::Result<Self> {
        let folder = folder.to_owned();
        let file = blocking(move || tempfile::tempfile_in(folder)).await?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Writes all of the pieces from `at` on, and returns their number of bytes.
    ///
    /// # Errors
    /// The file system's error; some bytes may have been written.
    ///
    /// # Cancel safety
    /// The write goes on when the future is dropped; the caller then writes to the same place again.
    pub(in crate::acceptor) async fn write(&self, at: u64, pieces: Vec<Bytes>) -> io::Result<u64> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut end = at;
            for piece in &pieces {
                file.write_all_at(piece, end)?;
                end += piece.len() as u64;
            }
            Ok(end - at)
        })
        .await
    }

    /// Reads up to `length` bytes from `at` on, and exactly that many if the file has them.
    ///
    /// # Errors
    /// The file system's error, `UnexpectedEof` included.
    pub(in crate::acceptor) async fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

/// How many bytes the spool files in `folder` may have together: `wanted`, but at most half of what is free there now,
/// or [`LEAST_SPACE`] where half is less.
pub(in crate::acceptor) fn space(wanted: u64, folder: &Path) -> u64 {
    // A file system that does not say what is free gives no limit: a write fails when the disk is full.
    let Ok(disk) = rustix::fs::statvfs(folder) else { return wanted };
    let half = disk.f_bavail.saturating_mul(disk.f_frsize) / 2;
    let half = half.max(LEAST_SPACE);
    if half < wanted {
        tracing::info!(folder = %folder.display(), bytes = half, "spool files get half of what is free on their disk");
    }
    wanted.min(half)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// The step in which space is reserved.
const STEP: u64 = 1 << 20;
/// The least space, also on a disk with less: a write then says when the disk is full.
const LEAST_SPACE: u64 = 64 << 20;
/// The bytes that are moved between memory and a file at a time.
pub(in crate::acceptor) const SPOOL_PIECE: usize = 128 << 10;
