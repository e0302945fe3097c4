//! The same worker as one thread that sleeps only when it has answered all that it has read: so that a proxy which has
//! several requests for it pays for one wake-up, as with workers that are event loops.
//!
//! Never here: uploads and pauses.

use std::ffi::{c_int, c_short, c_ulong};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;

use super::{Head, Path, Site};

/// Serves until the process ends.
pub(super) fn serve(listener: &UnixListener, site: &Site) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut connections: Vec<Connection> = Vec::new();
    let mut polled: Vec<PollFd> = Vec::new();
    loop {
        polled.clear();
        polled.push(PollFd::new(listener));
        polled.extend(connections.iter().map(|connection| PollFd::new(&connection.stream)));
        wait(&mut polled)?;
        let ready = polled[1..].iter().zip(&mut connections).filter(|(polled, _)| polled.returned != 0);
        for (_, connection) in ready {
            connection.read(site);
        }
        for connection in &mut connections {
            connection.write();
        }
        connections.retain(|connection| !connection.ended);
        if polled[0].returned != 0 {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                connections.push(Connection { stream, read: Vec::new(), answers: Vec::new(), ended: false });
            }
        }
    }
}

struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
    /// What has not been written yet.
    answers: Vec<u8>,
    ended: bool,
}

impl Connection {
    fn read(&mut self, site: &Site) {
        let mut buffer = [0; BUFFER];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.read.extend_from_slice(&buffer[..count]),
            Err(error) => self.ended = error.kind() != io::ErrorKind::WouldBlock,
        }
        while let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
            let answer = match Head::parse(&self.read[..end + 2]).map(|head| head.path) {
                Ok(Path::Small) => &site.small,
                Ok(Path::Sized(which)) => site.sized(which),
                _ => &site.missing,
            };
            self.answers.extend_from_slice(answer);
            self.read.drain(..end + 4);
            site.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What does not fit waits: whoever reads slowly here is asked for nothing else.
    fn write(&mut self) {
        while !self.answers.is_empty() && !self.ended {
            match self.stream.write(&self.answers) {
                Ok(count) => drop(self.answers.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => self.ended = true,
            }
        }
    }
}

/// `struct pollfd` of poll(2).
#[repr(C)]
struct PollFd {
    descriptor: c_int,
    events: c_short,
    returned: c_short,
}

impl PollFd {
    fn new(file: &impl AsRawFd) -> Self {
        Self { descriptor: file.as_raw_fd(), events: POLLIN, returned: 0 }
    }
}

/// Returns when one of them can be read.
fn wait(polled: &mut [PollFd]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice, which nobody else has meanwhile.
    match unsafe { poll(polled.as_mut_ptr(), polled.len() as c_ulong, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "C" {
    fn poll(polled: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}

const POLLIN: c_short = 1;
const BUFFER: usize = 16 * 1024;
