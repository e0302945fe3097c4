//! Fields behind bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::acceptor::fuzzing::trailers(data));
