//! BERT and MiniLM: the encoder, with its pooler, and heads for masked words, sequences and tokens.
//!
//! Paper: Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>
//! Difference: none; the next-sentence head of `BertForPreTraining` is left out.

use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use florin_backend::linear;
use florin_encoders::{BertConfig, BertEncoder, BertInput, activation};
use florin_nn::{Activation, LayerNorm, Linear, zeros};
use serde::Deserialize;

use crate::ModelError;
use crate::checkpoint;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::weights::Weights;

const ARCHITECTURES: [&str; 5] = [
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertForTokenClassification",
];

/// What transformers calls the parts of the encoder.
pub(crate) const ENCODER_NAMES: [Rule; 15] = [
    rule("encoder.word_embeddings", "~embeddings.word_embeddings"),
    rule("encoder.position_embeddings", "~embeddings.position_embeddings"),
    rule("encoder.token_type_embeddings", "~embeddings.token_type_embeddings"),
    rule("encoder.embedding_norm", "~embeddings.LayerNorm"),
    rule("encoder.layers", "~encoder.layer"),
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.self.query"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.self.key"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.self.value"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.output.dense"),
    rule("encoder.layers.#.attention_norm", "~encoder.layer.#.attention.output.LayerNorm"),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.intermediate.dense"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.output.dense"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layer.#.output.LayerNorm"),
    rule("pooler", "~pooler.dense"),
    rule("head", "classifier"),
];

const MASKED_LANGUAGE_NAMES: [Rule; 3] = [
    rule("head.dense", "cls.predictions.transform.dense"),
    rule("head.norm", "cls.predictions.transform.LayerNorm"),
    rule("head.bias", "cls.predictions.bias"),
];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct Bert {
    /// The encoder.
    pub encoder: BertEncoder,
    /// What the first token's vector goes through, with a hyperbolic tangent, where the architecture has it.
    pub pooler: Option<Linear>,
    /// The head, where there is one.
    pub head: Option<BertHead>,
    vocabulary: usize,
    types: usize,
    places: usize,
}

/// A head.
#[allow(clippy::large_enum_variant, reason = "one a system, never many of them")]
#[derive(Module, Debug)]
pub enum BertHead {
    /// Scores of the vocabulary at every token.
    MaskedLanguage(MaskedLanguageHead),
    /// Scores of classes from the pooled vector.
    Sequence(Linear),
    /// Scores of classes at every token.
    Token(Linear),
}

/// Predicts hidden words; its decoder is the table of word embeddings.
#[derive(Module, Debug)]
pub struct MaskedLanguageHead {
    /// `[dim, dim]`, followed by the encoder's activation.
    pub dense: Linear,
    /// Norm behind it.
    pub norm: LayerNorm,
    /// One a word, `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    activation: Activation,
}

/// What a `config.json` says beside the encoder.
#[derive(Deserialize)]
struct HeadConfig {
    #[serde(default)]
    id2label: serde_json::Map<String, serde_json::Value>,
    num_labels: Option<usize>,
    tie_word_embeddings: Option<bool>,
}

impl HeadConfig {
    /// How many classes there are; two unless the configuration says.
    fn classes(&self) -> usize {
        self.num_labels.unwrap_or(if self.id2label.is_empty() { 2 } else { self.id2label.len() })
    }
}

/// Opens the encoder alone, whatever stands on it in the file.
pub fn open_encoder(folder: &Path, device: &Device) -> Result<(BertConfig, BertEncoder), ModelError> {
    let config = read_config(&folder.join("config.json"))?;
    let weights = Weights::open(folder)?;
    let rules = ENCODER_NAMES.iter().map(|rule| rule.without("encoder"));
    let prefix = if weights.has_prefix("bert.") { "bert." } else { "" };
    let names = Names::new(rules).with_prefix(prefix).ignoring(is_beside_the_encoder);
    let encoder = checkpoint::fill(config.init(device), &weights, &names)?;
    Ok((config, encoder))
}

/// Reads and validates a `config.json`.
pub fn read_config(path: &Path) -> Result<BertConfig, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::File { path: path.into(), source })?;
    let config: BertConfig = serde_json::from_str(&text)
        .map_err(|error| ModelError::Configuration { path: path.into(), reason: error.to_string() })?;
    config.validate()?;
    Ok(config)
}

impl Bert {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: BertConfig = checkpoint.config()?;
        config.validate()?;
        let of_head: HeadConfig = checkpoint.config()?;
        let (dim, classes) = (config.hidden_size, of_head.classes());
        let architecture = checkpoint.architecture()?;
        let head = match architecture {
            "BertModel" => None,
            "BertForMaskedLM" | "BertForPreTraining" if of_head.tie_word_embeddings == Some(false) => {
                let reason = "a decoder of its own (`tie_word_embeddings`: false) is not read; expected the word embeddings as decoder";
                return Err(checkpoint.refused(reason.to_owned()));
            }
            "BertForMaskedLM" | "BertForPreTraining" => {
                Some(BertHead::MaskedLanguage(MaskedLanguageHead::new(&config, device)?))
            }
            "BertForSequenceClassification" => Some(BertHead::Sequence(Linear::new(dim, classes, device))),
            "BertForTokenClassification" => Some(BertHead::Token(Linear::new(dim, classes, device))),
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let prefix = if checkpoint.weights().has_prefix("bert.") { "bert." } else { "" };
        // A sentence encoder is often saved without the pooler that it does not use.
        let has_pooler = checkpoint.weights().has(&format!("{prefix}pooler.dense.weight"));
        let pooler = (has_pooler || matches!(head, Some(BertHead::Sequence(_)))).then(|| Linear::new(dim, dim, device));
        let (vocabulary, types, places) = (config.vocab_size, config.type_vocab_size, config.max_position_embeddings);
        let bert = Self { encoder: config.init(device), pooler, head, vocabulary, types, places };
        let names = Names::new(ENCODER_NAMES).with_prefix(prefix).ignoring(is_unused);
        let names = match &bert.head {
            Some(BertHead::MaskedLanguage(_)) => names.and(MASKED_LANGUAGE_NAMES),
            _ => names,
        };
        checkpoint.fill(bert, names)
    }

    fn pooled(&self, last: &Tensor<3>) -> Option<Tensor<2>> {
        let first = last.clone().narrow(1, 0, 1).squeeze_dim(1);
        self.pooler.as_ref().map(|pooler| pooler.forward(first).tanh())
    }
}

impl Forward for Bert {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![
            Wanted::needed("input_ids", "[batch, seq]"),
            Wanted::optional("attention_mask", "[batch, seq]"),
            Wanted::optional("token_type_ids", "[batch, seq]"),
            Wanted::optional("position_ids", "[batch, seq]"),
        ];
        match &self.head {
            None => {}
            Some(BertHead::Sequence(_)) => wants.push(Wanted::optional("labels", "[batch]")),
            Some(_) => wants.push(Wanted::optional("labels", "[batch, seq]")),
        }
        wants
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let ids = inputs.ids::<2>("input_ids", "[batch, seq]", self.vocabulary)?;
        let [batch, seq] = ids.dims();
        if seq > self.places {
            return Err(refused("input_ids", &format!("at most {} a row", self.places), &seq.to_string()));
        }
        let mask = inputs.mask("attention_mask", [batch, seq])?;
        let token_types = inputs.maybe_ids("token_type_ids", "[batch, seq]", self.types)?;
        let positions = inputs.maybe_ids("position_ids", "[batch, seq]", self.places)?;
        let states = self.encoder.hidden_states(&BertInput { ids, mask, token_types, positions });
        let last = states[states.len() - 1].clone();
        let outputs = match &self.head {
            None => {
                Outputs::new().with("last_hidden_state", last.clone()).with_maybe("pooler_output", self.pooled(&last))
            }
            Some(BertHead::MaskedLanguage(head)) => {
                let logits = head.forward(last, self.encoder.word_embeddings.weight.val());
                token_outputs(inputs, logits)?
            }
            Some(BertHead::Token(head)) => token_outputs(inputs, head.forward(last))?,
            Some(BertHead::Sequence(head)) => {
                let pooled = self.pooled(&last).ok_or_else(|| refused("pooler", "a checkpoint that has it", "none"))?;
                let logits = head.forward(pooled);
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
        };
        Ok(outputs.with_hidden_states(states))
    }
}

impl MaskedLanguageHead {
    fn new(config: &BertConfig, device: &Device) -> Result<Self, ModelError> {
        let dim = config.hidden_size;
        Ok(Self {
            dense: Linear::new(dim, dim, device),
            norm: LayerNorm::new(dim, config.layer_norm_eps, device),
            bias: zeros([config.vocab_size], device),
            activation: activation("bert", &config.hidden_act)?,
        })
    }

    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    /// - words: the table of word embeddings, `[vocabulary, dim]`
    /// - output: `[batch, seq, vocabulary]`
    pub fn forward(&self, x: Tensor<3>, words: Tensor<2>) -> Tensor<3> {
        let x = self.norm.forward(self.dense.forward_activated(x, self.activation));
        linear(x, words.transpose(), Some(self.bias.val()))
    }
}

/// Logits at every token, with the loss where labels are given.
pub(crate) fn token_outputs(inputs: &Inputs, logits: Tensor<3>) -> Result<Outputs, ModelError> {
    let [batch, seq, classes] = logits.dims();
    let loss = label_loss::<2>(inputs, logits.clone().reshape([batch * seq, classes]))?;
    Ok(Outputs::new().with_maybe("loss", loss).with("logits", logits))
}

/// The tied decoder, whose weight is the word embeddings' and whose bias the head's; positions that older files store; the
/// next-sentence head.
fn is_unused(name: &str) -> bool {
    name.ends_with("position_ids")
        || name.starts_with("cls.predictions.decoder.")
        || name.starts_with("cls.seq_relationship.")
}

/// Heads, the pooler and stored positions.
fn is_beside_the_encoder(name: &str) -> bool {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    !(name.starts_with("embeddings.") || name.starts_with("encoder.")) || name.ends_with("position_ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_bert_model() {
        let cases = [
            ("encoder.word_embeddings.weight", "embeddings.word_embeddings.weight"),
            ("encoder.embedding_norm.bias", "embeddings.LayerNorm.bias"),
            ("encoder.layers.3.attention.query.weight", "encoder.layer.3.attention.self.query.weight"),
            ("encoder.layers.3.attention.output.bias", "encoder.layer.3.attention.output.dense.bias"),
            ("encoder.layers.3.attention_norm.weight", "encoder.layer.3.attention.output.LayerNorm.weight"),
            ("encoder.layers.3.mlp.up.weight", "encoder.layer.3.intermediate.dense.weight"),
            ("encoder.layers.3.mlp.down.weight", "encoder.layer.3.output.dense.weight"),
            ("encoder.layers.3.mlp_norm.bias", "encoder.layer.3.output.LayerNorm.bias"),
            ("pooler.bias", "pooler.dense.bias"),
        ];
        for (own, expected) in cases {
            assert_eq!(Names::new(ENCODER_NAMES).locate(own).name, expected);
        }
    }
}
