//! Owns reading a whole file that another user may control: a read is never endless, and never waits for a writer.
//!
//! Never here: what stands in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file of at most `largest` bytes.
///
/// # Errors
/// Why the file cannot be read, also where it is no plain file or is larger.
pub(crate) fn read_to_string(path: &Path, largest: u64) -> io::Result<String> {
    // Without NONBLOCK a named pipe in the file's place would hold the reader until somebody writes to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    read_open(file, largest)
}

/// Reads an open file of at most `largest` bytes.
///
/// # Errors
/// As [`read_to_string`].
pub(crate) fn read_open(file: File, largest: u64) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
    }
    let mut text = String::new();
    file.take(largest + 1).read_to_string(&mut text)?;
    if text.len() as u64 > largest {
        let size = match largest {
            1_048_576.. => format!("{} MiB", largest >> 20),
            _ => format!("{} KiB", largest >> 10),
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {size}")));
    }
    Ok(text)
}
