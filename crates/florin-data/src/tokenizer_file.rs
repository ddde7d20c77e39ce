//! What is done with a `tokenizer.json` by the crate `tokenizers`, which panics on some files that are none: here that is an error.

use tokenizers::Tokenizer;

use crate::guarded::guarded;

/// Reads the content of a file.
pub(crate) fn read(json: &[u8]) -> Result<Tokenizer, String> {
    let read = guarded(|| Tokenizer::from_bytes(json).map_err(|error| error.to_string()));
    read.unwrap_or_else(|| Err("its reader failed, so that it must be damaged".to_owned()))
}

/// The ids of a text, with those that open and close it or without.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str, is_closed: bool) -> Result<Vec<u32>, String> {
    let encoded = guarded(|| tokenizer.encode_fast(text, is_closed).map_err(|error| error.to_string()));
    let encoded = encoded.unwrap_or_else(|| Err("it fails on a text, so that it must be damaged".to_owned()));
    Ok(encoded?.get_ids().to_vec())
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_slip_of_the_pen_within_the_decoder_is_an_error() {
        // Found by fuzzing: the crate expects that this part at least is JSON.
        let json = br#"{"version": "1.0", "decoder": qull, "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;
        assert!(read(json).unwrap_err().contains("must be damaged"));
    }
}
