//! Fuzzes `readers::reference`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| florin_fuzz::readers::reference(bytes));
