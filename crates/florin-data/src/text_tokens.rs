//! Whole texts as the ids a model wants: the folder's own `tokenizer.json`, cut to the model's length.
//!
//! What a checkpoint's file says of padding and truncation is put aside: batches here are made by length and padded by whoever makes
//! them, and how long a text may be is the model's to say.

use std::path::Path;

use rayon::prelude::*;
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::{DataError, tokenizer_file};

/// The file in a checkpoint's folder.
pub const FILE: &str = "tokenizer.json";

/// Bytes of a text that are looked at: far more than any model's longest row needs.
const LONGEST_TEXT: usize = 1 << 20;

/// A tokenizer for whole texts.
pub struct TextTokens {
    tokenizer: Tokenizer,
    padding: u32,
    vocabulary_size: usize,
}

impl TextTokens {
    /// Reads the tokenizer of a folder; texts are cut to `longest` tokens, those that open and close them included.
    pub fn of_folder(folder: &Path, longest: usize) -> Result<Self, DataError> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(|source| DataError::file("read the tokenizer", &path, source))?;
        Self::from_json(&path, &bytes, longest)
    }

    /// Reads the content of a `tokenizer.json`; `path` is for messages.
    pub fn from_json(path: &Path, json: &[u8], longest: usize) -> Result<Self, DataError> {
        let refused = |reason: String| DataError::Tokenizer { path: path.into(), reason };
        let mut tokenizer = tokenizer_file::read(json).map_err(refused)?;
        let vocabulary = tokenizer.get_vocab(true);
        let stated = tokenizer.get_padding().map(|padding| padding.pad_id);
        // CLIP pads with its end of text.
        let usual = ["[PAD]", "<pad>", "<|endoftext|>"].iter().find_map(|name| vocabulary.get(*name).copied());
        let padding = stated.or(usual).unwrap_or(0);
        let vocabulary_size = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
        tokenizer.with_padding(None);
        let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if longest < added {
            return Err(refused(format!(
                "it opens and closes a text with {added} tokens, and the model reads at most {longest}"
            )));
        }
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: longest,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| refused(error.to_string()))?;
        Ok(Self { tokenizer, padding, vocabulary_size })
    }

    /// The ids of each text.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, DataError> {
        let encoded = texts.par_iter().map(|text| {
            let cut = &text[..text.floor_char_boundary(LONGEST_TEXT)];
            tokenizer_file::encode(&self.tokenizer, cut, true)
        });
        let failed = |reason| DataError::Tokenizer { path: FILE.into(), reason };
        encoded.collect::<Result<_, _>>().map_err(failed)
    }

    /// What fills a batch.
    pub fn padding(&self) -> u32 {
        self.padding
    }

    /// One more than the highest id that can occur.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json() -> String {
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "total", "nine", "owed"];
        let vocabulary: Vec<String> = words.iter().enumerate().map(|(id, word)| format!("\"{word}\":{id}")).collect();
        format!(
            r#"{{"version":"1.0","truncation":{{"direction":"Right","max_length":1,"strategy":"LongestFirst","stride":0}},
            "padding":{{"strategy":{{"Fixed":9}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"}},
            "added_tokens":[],"normalizer":null,"pre_tokenizer":{{"type":"Whitespace"}},
            "post_processor":{{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]}},"decoder":null,
            "model":{{"type":"WordLevel","unk_token":"[UNK]","vocab":{{{}}}}}}}"#,
            vocabulary.join(",")
        )
    }

    #[test]
    fn texts_are_opened_closed_and_cut_and_the_file_does_not_say_how_long() {
        let tokens = TextTokens::from_json(Path::new("t.json"), json().as_bytes(), 4).unwrap();
        let found = tokens.encode(&["total owed", "nine", "", "total nine owed owed"]).unwrap();
        assert_eq!(found, [vec![2, 4, 6, 3], vec![2, 5, 3], vec![2, 3], vec![2, 4, 5, 3]]);
        assert_eq!((tokens.padding(), tokens.vocabulary_size()), (0, 7));
    }

    #[test]
    fn a_file_that_is_none_is_refused_by_name() {
        let short = TextTokens::from_json(Path::new("t.json"), json().as_bytes(), 1).err().unwrap().to_string();
        assert!(short.contains("with 2 tokens, and the model reads at most 1"), "{short}");
        let error = TextTokens::from_json(Path::new("t.json"), b"{", 4).err().unwrap().to_string();
        assert!(error.contains("t.json"), "{error}");
        let missing = TextTokens::of_folder(Path::new("/nowhere"), 4).err().unwrap().to_string();
        assert!(missing.contains("/nowhere/tokenizer.json"), "{missing}");
    }
}
