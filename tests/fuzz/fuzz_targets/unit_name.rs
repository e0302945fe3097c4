//! Names of units.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::backend::fuzzing::unit_name(data));
