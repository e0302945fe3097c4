//! Datagrams by which workers say that they are ready.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::notification(data));
