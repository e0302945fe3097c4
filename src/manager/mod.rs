//! Stub.
mod budget;
mod worker;
