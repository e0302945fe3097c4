//! Owns what this server knows of its workers' units, and the signals of systemd by which it knows.
//!
//! Never here: asking for a unit, or signalling one (`starter`).

pub(super) mod unit_signals;
pub(super) mod unit_state;
pub(super) mod unit_table;
