//! A word-piece vocabulary learnt from the training documents, for models that start from nothing.

use std::collections::HashMap;

use florin_data::labelled::LabelledDocument;
use florin_data::words::words;
use serde_json::json;

/// Pieces kept.
const MOST: usize = 2_000;
/// Words seen less often are spelt in pieces.
const LEAST_COUNT: usize = 3;

/// A `tokenizer.json` of the usual BERT form: special tokens, every character alone and as a continuation, common
/// beginnings and endings, and the most frequent words.
pub(crate) fn learn(documents: &[&LabelledDocument]) -> Vec<u8> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for document in documents {
        for word in words(&document.document) {
            *counts.entry(word.text(&document.document).to_lowercase()).or_default() += 1;
        }
    }
    let mut vocabulary: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    let mut characters: Vec<char> = counts.keys().flat_map(|word| word.chars()).collect();
    characters.extend('!'..='~');
    characters.sort_unstable();
    characters.dedup();
    vocabulary.extend(characters.iter().map(char::to_string));
    vocabulary.extend(characters.iter().map(|c| format!("##{c}")));
    let room = MOST.saturating_sub(vocabulary.len());
    vocabulary.extend(frequent(pieces(&counts), room));
    let entries: serde_json::Map<String, serde_json::Value> =
        unique(vocabulary).into_iter().enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    tokenizer(entries).to_string().into_bytes()
}

/// Whole words without digits, and beginnings and endings of two to four characters, with their counts.
fn pieces(counts: &HashMap<String, usize>) -> HashMap<String, usize> {
    let mut all: HashMap<String, usize> = HashMap::new();
    for (word, count) in counts {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() > 1 && !letters.iter().any(char::is_ascii_digit) {
            *all.entry(word.clone()).or_default() += count;
        }
        for length in 2..=4.min(letters.len().saturating_sub(1)) {
            *all.entry(letters[..length].iter().collect()).or_default() += count;
            let ending: String = letters[letters.len() - length..].iter().collect();
            *all.entry(format!("##{ending}")).or_default() += count;
        }
    }
    all
}

/// The most frequent pieces, ties in alphabetical order so that a seed gives one vocabulary.
fn frequent(counts: HashMap<String, usize>, most: usize) -> Vec<String> {
    let mut ranked: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count >= LEAST_COUNT).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.into_iter().take(most).map(|(piece, _)| piece).collect()
}

fn unique(pieces: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    pieces.into_iter().filter(|piece| seen.insert(piece.clone())).collect()
}

fn tokenizer(vocabulary: serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]"),
                         special(4, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
}
