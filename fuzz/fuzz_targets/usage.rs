#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsegate::proxy::fuzzing::usage(data));
