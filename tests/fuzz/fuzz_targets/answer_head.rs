//! Heads of workers' answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::answer_head(data));
