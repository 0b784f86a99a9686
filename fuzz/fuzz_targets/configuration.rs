#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsegate::config::fuzzing::configuration(data));
