//! Host names, as requests name them and as people write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::authority(data));
