//! Heads of requests as workers get them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::worker_request(data));
