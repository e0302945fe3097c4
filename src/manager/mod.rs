//! Stub.
mod budget;
mod plan;
mod worker;
