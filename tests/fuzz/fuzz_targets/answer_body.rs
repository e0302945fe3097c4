//! Bodies of workers' answers: lengths, chunks, trailers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rip_server::fuzzing::answer_body(data));
