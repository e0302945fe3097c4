//! Answers of FastCGI workers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::fastcgi_answer(data));
