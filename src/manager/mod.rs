//! Stub.
mod worker;
