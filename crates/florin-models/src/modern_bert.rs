//! ModernBERT: an encoder of long texts, with heads for masked words, sequences and tokens.
//!
//! Paper: Warner et al. 2024 (ModernBERT), <https://arxiv.org/abs/2412.13663>
//! Difference: none; a row may be no longer than `max_position_embeddings`, and `sparse_prediction`, which leaves out logits, is not
//! followed.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{ModernBertConfig, activation};
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::names::{Names, Rule, rule};
use crate::sentence::{SentencePooling, SentenceTokens};
use crate::system::{Checkpoint, Opened};
use crate::text_heads::{ClassHead, MaskedLanguageHead, TextHead, check_tied};
use crate::text_model::{Places, TextEncoder, TextModel};

const ARCHITECTURES: [&str; 4] = [
    "ModernBertModel",
    "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
];

/// What transformers calls the parts; a head's own layer and norm have the names that they have here.
const NAMES: [Rule; 14] = [
    rule("encoder.word_embeddings", "~embeddings.tok_embeddings"),
    rule("encoder.embedding_norm", "~embeddings.norm"),
    rule("encoder.layers.#.attention_norm", "~layers.#.attn_norm"),
    rule("encoder.layers.#.attention.query", "~layers.#.attn.Wqkv").rows(0, 3),
    rule("encoder.layers.#.attention.key", "~layers.#.attn.Wqkv").rows(1, 3),
    rule("encoder.layers.#.attention.value", "~layers.#.attn.Wqkv").rows(2, 3),
    rule("encoder.layers.#.attention.output", "~layers.#.attn.Wo"),
    rule("encoder.layers.#.mlp_norm", "~layers.#.mlp_norm"),
    rule("encoder.layers.#.mlp.gate", "~layers.#.mlp.Wi").rows(0, 2),
    rule("encoder.layers.#.mlp.up", "~layers.#.mlp.Wi").rows(1, 2),
    rule("encoder.layers.#.mlp.down", "~layers.#.mlp.Wo"),
    rule("encoder.norm", "~final_norm"),
    rule("head.classifier", "classifier"),
    rule("head.bias", "decoder.bias"),
];

/// What a `config.json` says of heads.
#[derive(Deserialize)]
struct HeadConfig {
    #[serde(default)]
    classifier_bias: bool,
    #[serde(default = "default_activation")]
    classifier_activation: String,
    #[serde(default)]
    classifier_pooling: ClassifierPooling,
    #[serde(default = "default_bias")]
    decoder_bias: bool,
}

/// What a head for classes of a sequence reads.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassifierPooling {
    #[default]
    Cls,
    Mean,
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_bias() -> bool {
    true
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let config: ModernBertConfig = checkpoint.config()?;
    let places = Places::Rotated(config.max_position_embeddings);
    let encoder = TextEncoder::ModernBert(config.init(device)?);
    let mut model = TextModel::new(encoder, places, SentencePooling::of_folder(checkpoint.folder())?);
    let HeadConfig { classifier_pooling, .. } = checkpoint.config()?;
    model.classified = match classifier_pooling {
        ClassifierPooling::Cls => SentenceTokens::First,
        ClassifierPooling::Mean => SentenceTokens::Mean,
    };
    model.head = head(checkpoint, &config, device)?;
    let prefix = if checkpoint.weights().has_prefix("model.") { "model." } else { "" };
    // The decoder is the table of word embeddings.
    checkpoint.fill(model, Names::new(NAMES).with_prefix(prefix).ignoring(|name| name == "decoder.weight"))
}

/// The head of the configuration's architecture: a layer with its norm, and behind it words or classes.
fn head(checkpoint: &Checkpoint, config: &ModernBertConfig, device: &Device) -> Result<Option<TextHead>, ModelError> {
    let HeadConfig { classifier_bias, classifier_activation, decoder_bias, .. } = checkpoint.config()?;
    let (dim, activation) = (config.hidden_size, activation("modernbert", &classifier_activation)?);
    let linear = if classifier_bias { Linear::new } else { Linear::without_bias };
    let (dense, norm) = (linear(dim, dim, device), config.norm(device));
    let architecture = checkpoint.architecture()?;
    Ok(Some(match architecture {
        "ModernBertModel" => return Ok(None),
        "ModernBertForMaskedLM" => {
            check_tied(checkpoint)?;
            let head = MaskedLanguageHead::new(dim, config.vocab_size, activation, config.norm_eps, device);
            let bias = head.bias.filter(|_| decoder_bias);
            TextHead::MaskedLanguage(MaskedLanguageHead { dense, norm, bias, activation })
        }
        "ModernBertForSequenceClassification" | "ModernBertForTokenClassification" => {
            let head = ClassHead::new(dim, classes(checkpoint)?, device).with_dense(dense, activation);
            let head = ClassHead { norm: Some(norm), ..head };
            if architecture.contains("Sequence") { TextHead::Sequence(head) } else { TextHead::Token(head) }
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    }))
}
