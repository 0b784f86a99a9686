#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pulsegate::server::fuzzing::proxy_protocol(data));
