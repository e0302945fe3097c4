//! Stub.
mod budget;
mod plan;
mod probe;
mod worker;
