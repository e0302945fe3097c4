//! The worker behind every proxy of the benchmark: HTTP/1.1 with keep-alive over a Unix socket.
//!
//! One blocking thread a connection, two system calls a request, answers made beforehand. It trusts its peer: never
//! here, what a server must do that strangers can reach.
//!
//! `bench-worker --fd 3 --count SOCKET` or `bench-worker --path SOCKET --count SOCKET`. Paths: `/` two bytes, `/100k`,
//! `/1m`, `/upload` tells how many bytes it read, `/sum` their FNV-1a sum too. Who connects to the count socket gets
//! the number of answers so far.

use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What all connections share.
struct Site {
    small: Vec<u8>,
    medium: Vec<u8>,
    large: Vec<u8>,
    missing: Vec<u8>,
    answered: AtomicU64,
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, place, "--count", count] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return Err(io::Error::other("usage: bench-worker --fd 3|--path SOCKET --count SOCKET"));
    };
    let listener = match (kind, place) {
        // SAFETY: descriptor 3 is a listening Unix socket that whoever started us has left to us, and nobody else
        // in this process has touched it.
        ("--fd", "3") => unsafe { UnixListener::from_raw_fd(3) },
        ("--path", path) => UnixListener::bind(path)?,
        _ => return Err(io::Error::other(format!("cannot listen on {kind} {place}"))),
    };
    listener.set_nonblocking(false)?;
    let site = Arc::new(Site::new());
    let counts = UnixListener::bind(count)?;
    let counted = Arc::clone(&site);
    thread::Builder::new().stack_size(STACK).spawn(move || tell_counts(&counts, &counted))?;
    for connection in listener.incoming() {
        let (connection, site) = (connection?, Arc::clone(&site));
        // A connection that breaks is its proxy's affair: the harness sees the missing answers.
        thread::Builder::new().stack_size(STACK).spawn(move || Connection::new(connection).serve(&site))?;
    }
    Ok(())
}

fn tell_counts(counts: &UnixListener, site: &Site) {
    for mut reader in counts.incoming().flatten() {
        // A reader that has left wants no number.
        let _ = write!(reader, "{}", site.answered.load(Ordering::Relaxed));
    }
}

impl Site {
    fn new() -> Self {
        Self {
            small: answer("200 OK", b"ok"),
            medium: answer("200 OK", &pattern(100_000)),
            large: answer("200 OK", &pattern(1_000_000)),
            missing: answer("404 Not Found", b"no such path"),
            answered: AtomicU64::new(0),
        }
    }
}

struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: vec![0; BUFFER], filled: 0 }
    }

    fn serve(mut self, site: &Site) -> io::Result<()> {
        while let Some(head) = self.head()? {
            let path = head.path;
            match path {
                Path::Small => self.stream.write_all(&site.small)?,
                Path::Medium => self.stream.write_all(&site.medium)?,
                Path::Large => self.stream.write_all(&site.large)?,
                Path::Missing => self.stream.write_all(&site.missing)?,
                Path::Upload | Path::Sum => {
                    let text = self.body(head.body, path == Path::Sum)?;
                    self.stream.write_all(&answer("200 OK", text.as_bytes()))?;
                }
            }
            site.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The next request's head, taken out of the buffer; `None` once the peer has closed.
    fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let read = &self.buffer[..self.filled];
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = Head::parse(&read[..end + 2])?;
                self.take(end + 4);
                return Ok(Some(head));
            }
            if self.filled == self.buffer.len() {
                return Err(io::Error::other("a head larger than the buffer"));
            }
            match self.stream.read(&mut self.buffer[self.filled..])? {
                0 => return Ok(None),
                count => self.filled += count,
            }
        }
    }

    fn body(&mut self, length: usize, summed: bool) -> io::Result<String> {
        let (mut left, mut sum) = (length, FNV_START);
        loop {
            let here = self.filled.min(left);
            if summed {
                sum = fnv(sum, &self.buffer[..here]);
            }
            self.take(here);
            left -= here;
            if left == 0 {
                break;
            }
            match self.stream.read(&mut self.buffer[..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.filled = count,
            }
        }
        Ok(if summed { format!("{length} {sum:016x}") } else { length.to_string() })
    }

    fn take(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

struct Head {
    path: Path,
    body: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Path {
    Small,
    Medium,
    Large,
    Upload,
    Sum,
    Missing,
}

impl Head {
    /// `head` is whole lines, each with its line end.
    fn parse(head: &[u8]) -> io::Result<Self> {
        let mut lines = head.split(|byte| *byte == b'\n');
        let request = lines.next().unwrap_or_default();
        let path = match request.split(|byte| *byte == b' ').nth(1).unwrap_or_default() {
            b"/" => Path::Small,
            b"/100k" => Path::Medium,
            b"/1m" => Path::Large,
            b"/upload" => Path::Upload,
            b"/sum" => Path::Sum,
            _ => Path::Missing,
        };
        let mut body = 0;
        // Only the two paths that take a body have one.
        if matches!(path, Path::Upload | Path::Sum) {
            let length = lines.find_map(content_length);
            body = length.ok_or_else(|| io::Error::other("an upload without Content-Length"))?;
        }
        Ok(Self { path, body })
    }
}

fn content_length(line: &[u8]) -> Option<usize> {
    let (name, value) = line.split_at_checked(CONTENT_LENGTH.len())?;
    let value = std::str::from_utf8(value).ok().filter(|_| name.eq_ignore_ascii_case(CONTENT_LENGTH))?;
    value.trim().parse().ok()
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer =
        format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Bytes that show when a piece is missing, doubled or moved: the period is a prime.
fn pattern(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const CONTENT_LENGTH: &[u8] = b"content-length:";
const BUFFER: usize = 256 * 1024;
const STACK: usize = 128 * 1024;
