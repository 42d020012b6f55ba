//! Fuzzes `odp::net::tls::fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| odp::net::tls::fuzz::snapshot(data));
