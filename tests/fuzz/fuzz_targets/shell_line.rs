//! Lines of a `Procfile`, and `exec` in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::shell_line(data));
