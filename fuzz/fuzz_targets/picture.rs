//! Fuzzes what `picture` reads.

#![no_main]

libfuzzer_sys::fuzz_target!(init: florin_fuzz::pass_guarded_panics(), |bytes: &[u8]| florin_fuzz::picture(bytes));
