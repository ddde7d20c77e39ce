//! Every reader of untrusted bytes as a function of bytes, for the targets beside it.
//!
//! A function each, not a table: a target links what it reaches and no more, and libFuzzer looks at all that is linked after every run.

#[path = "../../tests/suite/fuzz_readers.rs"]
mod readers;

/// Lets a panic pass that a reader catches, as the decoders of sounds need: libFuzzer's own hook ends the process at any other.
pub fn pass_guarded_panics() {
    florin_data::guarded::silence();
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            pub fn $name(bytes: &[u8]) {
                readers::$name(bytes);
            }
        )*
    };
}

targets!(safetensors torch ctranslate2 index config reference tokenizer preprocessor picture clip sound);
