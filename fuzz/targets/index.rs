//! Fuzzes `readers::index`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| florin_fuzz::readers::index(bytes));
