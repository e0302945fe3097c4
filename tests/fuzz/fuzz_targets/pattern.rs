//! Patterns for files, and what they mean.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::pattern(data));
