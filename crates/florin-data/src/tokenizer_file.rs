//! What is done with a `tokenizer.json` by the crate `tokenizers`, which panics on some files that are none: here that is an error.

use tokenizers::Tokenizer;
use tokenizers::normalizers::NormalizerWrapper;

use crate::guarded::guarded;

/// How many times longer a text may become before it is cut into tokens. Known tokenizers stay below thirty-two; a few lines of
/// replacements one after the other, each of nothing by something, would make gigabytes of a sentence.
const MOST_GROWTH: usize = 256;

/// Reads the content of a file.
pub(crate) fn read(json: &[u8]) -> Result<Tokenizer, String> {
    let read = guarded(|| Tokenizer::from_bytes(json).map_err(|error| error.to_string()));
    let tokenizer = read.unwrap_or_else(|| Err("its reader failed, so that it must be damaged".to_owned()))?;
    match tokenizer.get_normalizer().map_or(1, growth) {
        ..=MOST_GROWTH => Ok(tokenizer),
        found => Err(format!(
            "expected normalizers that make a text at most {MOST_GROWTH} times as long, found some that may make it {found} times"
        )),
    }
}

/// How many times longer a text may become, as if every replacement put its content between any two bytes.
fn growth(normalizer: &NormalizerWrapper) -> usize {
    match normalizer {
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().map(growth).fold(1, usize::saturating_mul),
        NormalizerWrapper::Replace(replace) => replace.content.len() + 1,
        _ => 1,
    }
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
        assert!(read(json).err().unwrap().contains("must be damaged"));
    }

    #[test]
    fn normalizers_that_blow_a_text_up_are_refused() {
        let file = |times: usize| {
            let one = r#"{"type": "Replace", "pattern": {"Regex": " {0,}"}, "content": "xyz"}"#;
            let all = vec![one; times].join(", ");
            format!(
                r#"{{"version": "1.0", "normalizer": {{"type": "Sequence", "normalizers": [{all}]}},
                "model": {{"type": "WordLevel", "vocab": {{"a": 0}}, "unk_token": "a"}}}}"#
            )
        };
        assert!(read(file(4).as_bytes()).is_ok());
        let error = read(file(5).as_bytes()).err().unwrap();
        assert!(error.contains("at most 256 times as long, found some that may make it 1024 times"), "{error}");
    }
}
