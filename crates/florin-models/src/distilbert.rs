//! DistilBERT: BERT's encoder without segments and pooler, under names of its own.
//!
//! Paper: Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{BertConfig, activation};
use florin_nn::{Activation, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::names::{Names, Rule, rule};
use crate::sentence::SentencePooling;
use crate::system::{Checkpoint, Opened};
use crate::text_heads::{ClassHead, MaskedLanguageHead, TextHead, check_tied};
use crate::text_model::{Places, TextEncoder, TextModel};

const ARCHITECTURES: [&str; 4] = [
    "DistilBertModel",
    "DistilBertForMaskedLM",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
];

/// What transformers calls the parts.
const NAMES: [Rule; 13] = [
    rule("encoder.word_embeddings", "~embeddings.word_embeddings"),
    rule("encoder.position_embeddings", "~embeddings.position_embeddings"),
    rule("encoder.embedding_norm", "~embeddings.LayerNorm"),
    rule("encoder.layers.#.attention.query", "~transformer.layer.#.attention.q_lin"),
    rule("encoder.layers.#.attention.key", "~transformer.layer.#.attention.k_lin"),
    rule("encoder.layers.#.attention.value", "~transformer.layer.#.attention.v_lin"),
    rule("encoder.layers.#.attention.output", "~transformer.layer.#.attention.out_lin"),
    rule("encoder.layers.#.attention_norm", "~transformer.layer.#.sa_layer_norm"),
    rule("encoder.layers.#.mlp.up", "~transformer.layer.#.ffn.lin1"),
    rule("encoder.layers.#.mlp.down", "~transformer.layer.#.ffn.lin2"),
    rule("encoder.layers.#.mlp_norm", "~transformer.layer.#.output_layer_norm"),
    rule("head.classifier", "classifier"),
    rule("head.dense", "pre_classifier"),
];

const MASKED_LANGUAGE_NAMES: [Rule; 3] = [
    rule("head.dense", "vocab_transform"),
    rule("head.norm", "vocab_layer_norm"),
    rule("head.bias", "vocab_projector.bias"),
];

/// Sizes under DistilBERT's own names.
#[derive(Deserialize)]
struct Config {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    max_position_embeddings: usize,
    #[serde(default = "default_activation")]
    activation: String,
}

fn default_activation() -> String {
    "gelu".to_owned()
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let Config { vocab_size, dim, n_layers, n_heads, hidden_dim, max_position_embeddings, activation: name } =
        checkpoint.config()?;
    let config = BertConfig {
        vocab_size,
        hidden_size: dim,
        num_hidden_layers: n_layers,
        num_attention_heads: n_heads,
        intermediate_size: hidden_dim,
        max_position_embeddings,
        type_vocab_size: 0,
        // Not to be set.
        layer_norm_eps: 1e-12,
        hidden_act: name,
    };
    config.validate()?;
    let places = Places::FromTheStart(max_position_embeddings);
    let mut model = TextModel::new(
        TextEncoder::Bert(config.init(device)),
        places,
        SentencePooling::of_folder(checkpoint.folder())?,
    );
    model.head = match checkpoint.architecture()? {
        "DistilBertModel" => None,
        "DistilBertForMaskedLM" => {
            check_tied(checkpoint)?;
            let activation = activation("distilbert", &config.hidden_act)?;
            let head = MaskedLanguageHead::new(dim, vocab_size, activation, config.layer_norm_eps, device);
            Some(TextHead::MaskedLanguage(head))
        }
        "DistilBertForSequenceClassification" => {
            let head = ClassHead::new(dim, classes(checkpoint)?, device);
            Some(TextHead::Sequence(head.with_dense(Linear::new(dim, dim, device), Activation::Relu)))
        }
        "DistilBertForTokenClassification" => Some(TextHead::Token(ClassHead::new(dim, classes(checkpoint)?, device))),
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    };
    let prefix = if checkpoint.weights().has_prefix("distilbert.") { "distilbert." } else { "" };
    let names = Names::new(NAMES).with_prefix(prefix);
    let names = match &model.head {
        Some(TextHead::MaskedLanguage(_)) => names.and(MASKED_LANGUAGE_NAMES),
        _ => names,
    };
    // The tied decoder, and positions that older files store.
    checkpoint.fill(model, names.ignoring(|name| name.ends_with("position_ids") || name == "vocab_projector.weight"))
}
