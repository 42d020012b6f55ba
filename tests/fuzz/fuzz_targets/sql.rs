//! Fuzzes `odp::fuzz::sql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::fuzz::sql(data));
