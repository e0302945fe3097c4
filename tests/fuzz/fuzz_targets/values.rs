//! Values with parts: what to recycle after, memory, rates; durations and sizes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::values(data));
