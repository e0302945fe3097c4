//! The changes since `registry.json` was written.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::registry_changes(data));
