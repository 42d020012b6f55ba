//! Fuzzes `odp::fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::fuzz::wire(data));
