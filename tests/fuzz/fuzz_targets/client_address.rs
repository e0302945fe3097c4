//! What proxies say of where a request came from.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::client_address(data));
