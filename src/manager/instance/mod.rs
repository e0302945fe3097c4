//! Owns all apps of an instance: how they come and go, and which hosts lead to them.
//!
//! Never here: the life of one app (`app`).

pub(super) mod berth;
pub(super) mod fleet;
pub(super) mod hosts;
pub(super) mod intake;
pub(super) mod spelling;
