//! Lines of apps on a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::output_line(data));
