//! Words as the numbers a text encoder wants.
//!
//! Every word is tokenised alone, so that the pieces of a word never depend on its neighbours and each piece belongs
//! to one word. That also makes pieces worth keeping: receipts repeat a few thousand words.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokenizers::Tokenizer;

use crate::{DataError, tokenizer_file};

/// A tokenizer for single words, with a memory.
pub struct WordPieces {
    tokenizer: Tokenizer,
    most_per_word: usize,
    special: SpecialIds,
    vocabulary_size: usize,
    known: Mutex<HashMap<String, Arc<[u32]>>>,
}

/// The ids of the tokens that stand for no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// Opens a sequence.
    pub cls: u32,
    /// Closes a sequence.
    pub sep: u32,
    /// Fills a batch.
    pub pad: u32,
    /// Hides a token.
    pub mask: u32,
    /// Stands for what the vocabulary cannot spell.
    pub unk: u32,
}

/// Words remembered before the memory is emptied: enough for any set of receipts, small against a model.
const MOST_KNOWN: usize = 100_000;

/// Bytes of a word that are looked at: far more than any `most_per_word` pieces need.
const LONGEST_WORD: usize = 512;

impl WordPieces {
    /// Reads a `tokenizer.json`; each word keeps its first `most_per_word` pieces.
    pub fn from_file(path: impl AsRef<Path>, most_per_word: usize) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| DataError::file("read the tokenizer", path, source))?;
        Self::from_bytes(&bytes, most_per_word)
            .map_err(|reason| DataError::Tokenizer { path: path.to_path_buf(), reason })
    }

    /// Reads the content of a `tokenizer.json` that is called `name` in errors.
    pub fn from_json(name: &str, json: &[u8], most_per_word: usize) -> Result<Self, DataError> {
        Self::from_bytes(json, most_per_word).map_err(|reason| DataError::Tokenizer { path: name.into(), reason })
    }

    /// The ids of a word's pieces: at least one, at most as many as were asked for.
    pub fn pieces(&self, word: &str) -> Arc<[u32]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pieces) = known.get(word) {
            return pieces.clone();
        }
        let pieces = self.encode(word);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(word.to_string(), pieces.clone());
        pieces
    }

    /// The ids of the special tokens.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// One more than the highest id that can occur.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn from_bytes(bytes: &[u8], most_per_word: usize) -> Result<Self, String> {
        if most_per_word == 0 {
            return Err("expected at least 1 piece a word, found 0".into());
        }
        let mut tokenizer = tokenizer_file::read(bytes)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        let special = SpecialIds::read(&tokenizer)?;
        let vocabulary_size = tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        Ok(Self { tokenizer, most_per_word, special, vocabulary_size, known: Mutex::default() })
    }

    fn encode(&self, word: &str) -> Arc<[u32]> {
        let mut end = word.len().min(LONGEST_WORD);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        let ids = tokenizer_file::encode(&self.tokenizer, &word[..end], false).unwrap_or_default();
        match ids.get(..self.most_per_word).unwrap_or(&ids) {
            [] => Arc::from([self.special.unk]),
            ids => Arc::from(ids),
        }
    }
}

impl SpecialIds {
    /// Whether a token stands for no text.
    pub fn contains(&self, id: u32) -> bool {
        self.sorted().contains(&id)
    }

    /// All of them, each once, the lowest first.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut ids = vec![self.cls, self.sep, self.pad, self.mask, self.unk];
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn read(tokenizer: &Tokenizer) -> Result<Self, String> {
        // BERT's names first, then RoBERTa's.
        let id = |names: [&str; 2]| {
            names.iter().find_map(|name| tokenizer.token_to_id(name)).ok_or_else(|| {
                format!("expected a special token {} or {}, found neither in its vocabulary", names[0], names[1])
            })
        };
        Ok(Self {
            cls: id(["[CLS]", "<s>"])?,
            sep: id(["[SEP]", "</s>"])?,
            pad: id(["[PAD]", "<pad>"])?,
            mask: id(["[MASK]", "<mask>"])?,
            unk: id(["[UNK]", "<unk>"])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(mask: &str) -> String {
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", mask, "total", "##s", "9", ".", "##0", "0"];
        let vocabulary: Vec<String> = words.iter().enumerate().map(|(id, word)| format!("\"{word}\":{id}")).collect();
        format!(
            r###"{{"version":"1.0","truncation":{{"direction":"Right","max_length":1,"strategy":"LongestFirst","stride":0}},
            "padding":{{"strategy":{{"Fixed":9}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"}},
            "added_tokens":[],"normalizer":{{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
            "strip_accents":null,"lowercase":true}},"pre_tokenizer":{{"type":"BertPreTokenizer"}},"post_processor":null,
            "decoder":null,"model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
            "max_input_chars_per_word":100,"vocab":{{{}}}}}}}"###,
            vocabulary.join(",")
        )
    }

    #[test]
    fn words_are_cut_into_pieces_and_never_into_none_or_too_many() {
        let pieces = WordPieces::from_json("test", json("[MASK]").as_bytes(), 2).unwrap();
        assert_eq!(*pieces.pieces("TOTALS"), [5, 6]);
        assert_eq!(*pieces.pieces("9.00"), [7, 8], "the third piece is cut off; nothing is padded");
        assert_eq!(*pieces.pieces("中"), [1]);
        assert_eq!(*pieces.pieces(""), [1]);
        assert_eq!(*pieces.pieces(&"é".repeat(100_000)), [1]);
        assert_eq!(*pieces.pieces("TOTALS"), [5, 6], "from memory");
        assert_eq!(pieces.special(), SpecialIds { cls: 2, sep: 3, pad: 0, mask: 4, unk: 1 });
        assert_eq!(pieces.vocabulary_size(), 11);
    }

    #[test]
    fn a_tokenizer_that_cannot_serve_is_refused_with_the_reason() {
        let reason =
            |json: &str, most| WordPieces::from_json("t.json", json.as_bytes(), most).err().unwrap().to_string();
        assert!(reason(&json("[OTHER]"), 2).contains("[MASK] or <mask>"));
        assert!(reason("{", 2).contains("t.json"));
        assert!(reason(&json("[MASK]"), 0).contains("at least 1"));
        let missing = WordPieces::from_file("/nowhere/tokenizer.json", 2).err().unwrap().to_string();
        assert!(missing.contains("/nowhere/tokenizer.json"), "{missing}");
    }
}
