//! Requests that are served without the general parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::plain_request(data));
