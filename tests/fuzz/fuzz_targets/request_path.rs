//! Paths of requests where they decide which route or settings hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::request_path(data));
