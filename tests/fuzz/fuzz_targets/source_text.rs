//! Source text in all the languages that are looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::source_text(data));
