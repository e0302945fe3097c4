//! Requests that are served without the general parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::acceptor::fuzzing::plain_request(data));
