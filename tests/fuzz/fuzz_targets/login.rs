//! Fuzzes `odp::fuzz::login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::fuzz::login(data));
