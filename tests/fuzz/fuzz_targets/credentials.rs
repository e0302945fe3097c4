//! The name and the password that a request brings, and files of users.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::credentials(data));
