//! Fuzzes `odp::fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::fuzz::session(data));
