//! Stub.
mod budget;
mod output;
mod plan;
mod probe;
mod watch;
mod worker;
