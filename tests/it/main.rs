//! The integration tests: one binary, one module for each thing that is tried through its public door.

// `allow-unwrap-in-tests` knows test functions only, not their helpers.
#![allow(clippy::unwrap_used)]

mod backend;
