//! The worker behind every proxy of the benchmark: HTTP/1.1 with keep-alive over a Unix socket.
//!
//! One blocking thread a connection, two system calls a request, each answer made once. It trusts its peer: never
//! here, what a server must do that strangers can reach.
//!
//! `bench-worker --fd 3 --count FOLDER` or `bench-worker --path SOCKET --count FOLDER`; with `--batch` behind it one
//! thread answers all that it has read before it sleeps (`batch`). Paths: `/` two bytes, `/1k`, `/10k`, `/100k`, `/1m`,
//! `/10m`, `/upload` tells how many bytes it read, `/sum` their FNV-1a sum too, `/sleep5` two bytes after five
//! milliseconds, `/text` 100 kB of words, `/accel` names `/files/1m` in X-Accel-Redirect. Who connects to the count socket, `FOLDER/PID`, gets the number of answers so far, and of `/sleep5`
//! the nanoseconds and the greatest number that were in hand at once.

mod batch;

use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// What all connections share.
struct Site {
    small: Vec<u8>,
    /// Made when first asked for: a worker among hundreds needs none of them.
    sized: [OnceLock<Vec<u8>>; SIZES.len()],
    text: OnceLock<Vec<u8>>,
    accel: Vec<u8>,
    missing: Vec<u8>,
    answered: AtomicU64,
    in_hand: AtomicU64,
    most_in_hand: AtomicU64,
    nanoseconds_in_hand: AtomicU64,
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
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [kind, place, "--count", count, ref more @ ..] = words[..] else {
        return Err(io::Error::other("usage: bench-worker --fd 3|--path SOCKET --count FOLDER [--batch]"));
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
    wake_exactly();
    let counts = UnixListener::bind(std::path::Path::new(count).join(std::process::id().to_string()))?;
    let counted = Arc::clone(&site);
    thread::Builder::new().stack_size(STACK).spawn(move || tell_counts(&counts, &counted))?;
    if more == ["--batch"] {
        return batch::serve(&listener, &site);
    }
    for connection in listener.incoming() {
        let (connection, site) = (connection?, Arc::clone(&site));
        // A connection that breaks is its proxy's affair: the harness sees the missing answers.
        thread::Builder::new().stack_size(STACK).spawn(move || Connection::new(connection).serve(&site))?;
    }
    Ok(())
}

/// Has this thread, and all that it starts, woken when their sleep is over, not 50 µs later. Where the kernel has no
/// such file, they are.
fn wake_exactly() {
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

fn tell_counts(counts: &UnixListener, site: &Site) {
    for mut reader in counts.incoming().flatten() {
        let told = [&site.answered, &site.nanoseconds_in_hand, &site.most_in_hand];
        let [answered, nanoseconds, most] = told.map(|number| number.load(Ordering::Relaxed));
        // One write, so that one read takes it all; a reader that has left wants no number.
        let _ = reader.write_all(format!("{answered} {nanoseconds} {most}").as_bytes());
    }
}

impl Site {
    fn new() -> Self {
        Self {
            small: answer("200 OK", b"ok"),
            sized: Default::default(),
            text: OnceLock::new(),
            accel: answer("200 OK\r\nX-Accel-Redirect: /files/1m", b""),
            missing: answer("404 Not Found", b"no such path"),
            answered: AtomicU64::new(0),
            in_hand: AtomicU64::new(0),
            most_in_hand: AtomicU64::new(0),
            nanoseconds_in_hand: AtomicU64::new(0),
        }
    }

    fn sized(&self, which: usize) -> &[u8] {
        self.sized[which].get_or_init(|| answer("200 OK", &pattern(SIZES[which].1)))
    }

    /// One request in hand for five milliseconds, by the worker's own account: it ends before the answer is written,
    /// so that whoever has the answer and asks again at once is not taken for a second one.
    fn sleep(&self) {
        let start = Instant::now();
        let now = self.in_hand.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_hand.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        self.in_hand.fetch_sub(1, Ordering::SeqCst);
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds_in_hand.fetch_add(nanoseconds, Ordering::Relaxed);
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
                Path::Sized(which) => self.stream.write_all(site.sized(which))?,
                Path::Text => self.stream.write_all(site.text.get_or_init(|| answer("200 OK", &text(100_000))))?,
                Path::Accel => self.stream.write_all(&site.accel)?,
                Path::Missing => self.stream.write_all(&site.missing)?,
                Path::Upload | Path::Sum => {
                    let text = self.body(head.body, path == Path::Sum)?;
                    self.stream.write_all(&answer("200 OK", text.as_bytes()))?;
                }
                Path::Sleep => {
                    site.sleep();
                    self.stream.write_all(&site.small)?;
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
    /// A place in [`SIZES`].
    Sized(usize),
    Upload,
    Sum,
    Sleep,
    Text,
    Accel,
    Missing,
}

impl Head {
    /// `head` is whole lines, each with its line end.
    fn parse(head: &[u8]) -> io::Result<Self> {
        let mut lines = head.split(|byte| *byte == b'\n');
        let request = lines.next().unwrap_or_default();
        let path = match request.split(|byte| *byte == b' ').nth(1).unwrap_or_default() {
            b"/" => Path::Small,
            b"/upload" => Path::Upload,
            b"/sum" => Path::Sum,
            b"/sleep5" => Path::Sleep,
            b"/text" => Path::Text,
            b"/accel" => Path::Accel,
            other => SIZES.iter().position(|(path, _)| *path == other).map_or(Path::Missing, Path::Sized),
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

/// Words in an order that has no period, as compressible as a page of prose with its tags: to about a quarter.
fn text(length: usize) -> Vec<u8> {
    let mut seed: u32 = 1;
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        // Numerical Recipes' linear congruential generator: the high bits are the better ones.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(WORDS[(seed >> 24) as usize % WORDS.len()].as_bytes());
        text.push(if seed >> 20 & 15 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(length);
    text
}

fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const SIZES: [(&[u8], usize); 5] =
    [(b"/1k", 1_000), (b"/10k", 10_000), (b"/100k", 100_000), (b"/1m", 1_000_000), (b"/10m", 10_000_000)];
const WORDS: [&str; 48] = [
    "server", "request", "answer", "worker", "the", "of", "a", "certificate", "<p>", "</p>", "<li>", "</li>", "and",
    "folder", "deploy", "while", "another", "journal", "process", "memory", "limit", "in", "to", "is", "what",
    "<a href=\"/docs/\">", "</a>", "when", "restart", "socket", "client", "address", "for", "that", "with", "host",
    "path", "it", "queue", "unit", "time", "by", "on", "size", "bytes", "as", "kernel", "measured",
];
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const CONTENT_LENGTH: &[u8] = b"content-length:";
const BUFFER: usize = 256 * 1024;
const STACK: usize = 128 * 1024;
