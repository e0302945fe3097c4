//! The registry's two files, as functions of bytes that panic when a promise about them is broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use std::path::Path;

use super::{changes, snapshot};

/// `registry.json` is refused, or is the same after it is written and read again.
pub fn registry_snapshot(data: &[u8]) {
    let path = Path::new("registry.json");
    let Ok(read) = snapshot::parse(path, data) else { return };
    let written =
        snapshot::render(read.last_change, read.entries.values()).expect("what was read is written");
    let again = snapshot::parse(path, &written).expect("what was written is read");
    assert_eq!((again.last_change, again.entries), (read.last_change, read.entries));
}

/// The changes are refused, or are numbered without a gap and the same after they are written and read again.
pub fn registry_changes(data: &[u8]) {
    let path = Path::new("registry.changes");
    let Ok(read) = changes::parse(path, data) else { return };
    assert!(read.end + read.cut <= data.len());
    assert!(read.changes.windows(2).all(|two| two[0].0 + 1 == two[1].0));
    let Some(head) = data.split_inclusive(|byte| *byte == b'\n').next() else { return };
    let mut written = head.to_vec();
    for (number, change) in &read.changes {
        written.extend(changes::line(*number, change).expect("what was read is written"));
    }
    assert_eq!(changes::parse(path, &written).expect("what was written is read").changes, read.changes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 10_000;

    #[test]
    fn snapshots_keep_their_promises() {
        feed_kept("registry_snapshot", ROUNDS, registry_snapshot);
    }

    #[test]
    fn changes_keep_their_promises() {
        feed_kept("registry_changes", ROUNDS, registry_changes);
    }
}
