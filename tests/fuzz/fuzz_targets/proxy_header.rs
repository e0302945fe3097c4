//! The PROXY header in front of connections.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::proxy_header(data));
