//! Texts as vectors: the folder's tokenizer, batches by length, the system, and the vector that it makes of a text.
//!
//! A batch holds as many texts as a budget of tokens allows. Texts of about the same length share one: systems of the BERT family
//! compute nothing for padding (`florin_nn::Unpadding`), others little. What a text's vector is does not depend on which texts stand beside it.

use std::path::Path;
use std::rc::Rc;

use burn::prelude::*;
use florin_data::text_tokens::TextTokens;
use florin_nn::WeightFormat;
use serde::Deserialize;

use crate::ModelError;
use crate::beside::check_vocabulary;
use crate::image_embedder::rows_of;
use crate::named_tensors::{Inputs, refused};
use crate::sentence::read;
use crate::system::{Checkpoint, System};

/// How a system wants its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRules {
    /// Ids that it knows.
    pub vocabulary: usize,
    /// Tokens of the longest row.
    pub longest: usize,
    /// Whether rows are always as long as the longest and padding is seen, as SigLIP was trained.
    pub sees_padding: bool,
}

/// What a text's vector is called, the first that a system gives.
const OUTPUTS: [&str; 3] = ["sentence_embedding", "text_embeds", "pooler_output"];

/// A system of texts with its tokenizer.
pub struct TextEmbedder {
    system: Rc<dyn System>,
    tokens: TextTokens,
    rules: TextRules,
    device: Device,
}

/// sentence-transformers' own limit.
#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

/// The tokenizer's limit; some files have 1e30 there, for none.
#[derive(Deserialize)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

impl TextEmbedder {
    /// Opens a folder with its `tokenizer.json`.
    pub fn open(folder: &Path, device: &Device, format: Option<WeightFormat>) -> Result<Self, ModelError> {
        Self::of(Rc::from(Checkpoint::open(folder)?.packed(format).system(device)?), folder, device)
    }

    /// With the system of a folder that is open already.
    pub fn of(system: Rc<dyn System>, folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let Some(mut rules) = system.text_rules() else {
            return Err(refused("model", "one that takes texts", &folder.display().to_string()));
        };
        if !rules.sees_padding {
            rules.longest = rules.longest.min(longest_of(folder)?.unwrap_or(usize::MAX)).max(1);
        }
        check_vocabulary(folder, rules.vocabulary)?;
        let tokens = TextTokens::of_folder(folder, rules.longest)?;
        Ok(Self { system, tokens, rules, device: device.clone() })
    }

    /// Tokens of the longest text; what is longer is cut.
    pub fn longest(&self) -> usize {
        self.rules.longest
    }

    /// The vector of each text, `[texts, dim]` row by row, computed in batches of at most so many tokens (one text at least).
    /// `told` hears how many texts are done.
    pub fn embed(
        &self,
        texts: &[&str],
        batch_tokens: usize,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut rows = self.tokens.encode(texts)?;
        for row in &mut rows {
            if row.is_empty() || self.rules.sees_padding {
                // A tokenizer without opening and closing tokens makes nothing of an empty text.
                let full = if self.rules.sees_padding { self.rules.longest } else { 1 };
                row.resize(full.max(row.len()), self.tokens.padding());
            }
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(rows[row].len()));
        let mut vectors = vec![Vec::new(); rows.len()];
        let (mut done, mut rest) = (0, order.as_slice());
        while let Some(&first) = rest.first() {
            let count = (batch_tokens / rows[first].len()).clamp(1, rest.len());
            let (batch, others) = rest.split_at(count);
            let found = self.of_batch(&batch.iter().map(|&row| rows[row].as_slice()).collect::<Vec<_>>())?;
            for (row, vector) in batch.iter().zip(found) {
                vectors[*row] = vector;
            }
            rest = others;
            done += count;
            told(done);
        }
        Ok(vectors)
    }

    fn of_batch(&self, rows: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let seq = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::with_capacity(rows.len() * seq), Vec::with_capacity(rows.len() * seq));
        for row in rows {
            let padding = seq - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)).chain(std::iter::repeat_n(self.padding_id(), padding)));
            mask.extend(std::iter::repeat_n(1, row.len()).chain(std::iter::repeat_n(0, padding)));
        }
        let shape = [rows.len(), seq];
        let inputs = Inputs::new(&self.device).without_padding().whole("input_ids", &shape, ids);
        let outputs = self.system.forward(&inputs.whole("attention_mask", &shape, mask))?;
        rows_of(&outputs, &OUTPUTS)
    }

    fn padding_id(&self) -> i64 {
        i64::from(self.tokens.padding()).min(self.rules.vocabulary as i64 - 1)
    }
}

/// How long a text may be by what stands beside the model.
fn longest_of(folder: &Path) -> Result<Option<usize>, ModelError> {
    let sentence: Option<SentenceConfig> = read(folder, "sentence_bert_config.json")?;
    if let Some(length) = sentence.and_then(|config| config.max_seq_length) {
        return Ok(Some(length));
    }
    let tokenizer: Option<TokenizerConfig> = read(folder, "tokenizer_config.json")?;
    let stated = tokenizer.and_then(|config| config.model_max_length);
    Ok(stated.filter(|length| (1.0..1e9).contains(length)).map(|length| length as usize))
}
