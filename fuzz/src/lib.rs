//! Every reader of untrusted bytes as a function of bytes, for the targets beside it.
//!
//! A function each, not a table: a target links what it reaches and no more, and libFuzzer looks at all that is linked after every run.

#[path = "../../tests/suite/fuzz_readers.rs"]
mod readers;

/// Lets a panic pass that a reader catches, as the decoders of sounds need: libFuzzer's own hook ends the process at any other.
pub fn pass_guarded_panics() {
    florin_data::guarded::silence();
}

pub fn safetensors(bytes: &[u8]) {
    readers::safetensors(bytes);
}

pub fn torch(bytes: &[u8]) {
    readers::torch(bytes);
}

pub fn ctranslate2(bytes: &[u8]) {
    readers::ctranslate2(bytes);
}

pub fn index(bytes: &[u8]) {
    readers::index(bytes);
}

pub fn config(bytes: &[u8]) {
    readers::config(bytes);
}

pub fn reference(bytes: &[u8]) {
    readers::reference(bytes);
}

pub fn tokenizer(bytes: &[u8]) {
    readers::tokenizer(bytes);
}

pub fn preprocessor(bytes: &[u8]) {
    readers::preprocessor(bytes);
}

pub fn picture(bytes: &[u8]) {
    readers::picture(bytes);
}

pub fn clip(bytes: &[u8]) {
    readers::clip(bytes);
}

pub fn sound(bytes: &[u8]) {
    readers::sound(bytes);
}
