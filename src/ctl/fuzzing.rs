//! Records of the journal, as a function of bytes that panics when a promise about them is broken.
//!
//! Every test run calls the function with seeded inputs, and the targets of `tests/fuzz` call it for as long as one
//! likes. Never in a program that serves.

use super::journal;
use crate::backend::systemd::unit;
use crate::name::InstanceName;

/// A record as journalctl(1) writes it is of a worker of this instance, or of none.
pub fn journal_record(data: &[u8]) {
    let (Ok(text), Ok(instance)) = (std::str::from_utf8(data), InstanceName::parse("labs-api")) else {
        return;
    };
    if let Some(line) = journal::read(text, &instance) {
        let name = unit::name(&instance, &line.app, line.worker);
        // The JSON may have the backslashes of the unit's name doubled or as numbers.
        assert!(text.contains("rip") || text.contains("\\u"), "{name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 10_000;

    #[test]
    fn records_of_the_journal_keep_their_promises() {
        feed_kept("journal_record", ROUNDS, journal_record);
    }
}
