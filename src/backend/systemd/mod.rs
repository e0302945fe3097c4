//! Owns the backend whose workers are transient units of systemd's, siblings of the server that outlive it.
//!
//! Never here: what a unit may do (`properties`); who may ask for one (`launcher`, a program of its own).

pub mod dbus;
pub mod unit;
