//! Scripts of a `package.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::start_script(data));
