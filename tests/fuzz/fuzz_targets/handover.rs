//! Fuzzes `odp::fuzz::handover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::fuzz::handover(data));
