//! The parsers of what workers write and of what systemd calls their units, each as a function of bytes that panics
//! when one of its promises is broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use super::child::Lines;
use super::contract::readiness::says_ready;
use super::systemd::{bus, unit};
use crate::name::InstanceName;

/// An instance, then names of units, one a line: only names in the server's own spelling are its units', and every name
/// makes an object of the bus.
pub fn unit_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let instance = InstanceName::parse(lines.next().unwrap_or_default());
    for name in lines {
        if let Some(server) = unit::instance_of_server(name) {
            assert_eq!(unit::server(&server), name);
        }
        let object = bus::object_of(name);
        let last = object.rsplit('/').next().unwrap_or_default();
        assert!(last.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{object}");
        let Ok(instance) = &instance else { continue };
        if let Some((app, worker)) = unit::parse(instance, name) {
            assert_eq!(unit::name(instance, &app, worker), name);
        }
    }
}

/// The lines of a worker's output do not depend on how its bytes were cut.
pub fn worker_output(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    // The input is repeated, so that some lines are long enough to be cut.
    let bytes = bytes.repeat(16);
    let whole = lines_of([&bytes[..]]);
    let cut = usize::from(*cut).max(1);
    assert_eq!(lines_of(bytes.chunks(cut)), whole, "cut every {cut}");
    assert!(!whole.iter().any(|line| line.contains('\n')));
}

fn lines_of<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut lines, mut seen) = (Lines::default(), Vec::new());
    for bytes in reads {
        lines.push(bytes, |line| seen.push(line));
    }
    lines.finish(|line| seen.push(line));
    seen
}

/// A datagram of sd_notify(3) says that a worker is ready only by a whole line.
pub fn notification(data: &[u8]) {
    let lines = [b"\n", data, b"\n"].concat();
    assert_eq!(says_ready(data), memchr::memmem::find(&lines, b"\nREADY=1\n").is_some());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 10_000;

    #[test]
    fn names_of_units_keep_their_promises() {
        feed_kept("unit_name", ROUNDS, unit_name);
    }

    #[test]
    fn output_keeps_its_promises() {
        feed_kept("worker_output", ROUNDS, worker_output);
    }

    #[test]
    fn notifications_keep_their_promises() {
        feed_kept("notification", ROUNDS, notification);
    }
}
