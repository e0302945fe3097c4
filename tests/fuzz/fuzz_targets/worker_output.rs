//! What workers write, cut into lines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::worker_output(data));
