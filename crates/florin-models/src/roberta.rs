//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT's encoder with positions that begin behind the padding's, and heads of their own.
//!
//! Paper: Liu et al. 2019 (RoBERTa), <https://arxiv.org/abs/1907.11692>
//! Difference: none.
//! Paper: Conneau et al. 2019 (XLM-RoBERTa), <https://arxiv.org/abs/1911.02116>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::BertConfig;
use florin_nn::{Activation, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::bert::ENCODER_NAMES;
use crate::classes::classes;
use crate::names::{Names, Rule, rule};
use crate::sentence::SentencePooling;
use crate::system::{Checkpoint, Opened};
use crate::text_heads::{MaskedLanguageHead, SequenceHead, TextHead, check_tied};
use crate::text_model::{Places, TextModel};

/// Every family's, after its name.
const ARCHITECTURES: [&str; 4] = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"];
/// The families, by the beginning of an architecture's name.
const FAMILIES: [&str; 3] = ["Roberta", "XLMRoberta", "Camembert"];

/// What transformers calls the heads.
const HEAD_NAMES: [Rule; 3] = [
    rule("head", "classifier"),
    rule("head.dense", "classifier.dense"),
    rule("head.classifier", "classifier.out_proj"),
];

const MASKED_LANGUAGE_NAMES: [Rule; 3] =
    [rule("head.dense", "lm_head.dense"), rule("head.norm", "lm_head.layer_norm"), rule("head.bias", "lm_head.bias")];

#[derive(Deserialize)]
struct PaddingConfig {
    #[serde(default = "default_padding")]
    pad_token_id: Option<usize>,
}

fn default_padding() -> Option<usize> {
    Some(1)
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let architecture = checkpoint.architecture()?;
    let kind = FAMILIES.iter().find_map(|family| architecture.strip_prefix(family));
    let Some(kind) = kind.filter(|kind| ARCHITECTURES.contains(kind)) else {
        let known: Vec<String> =
            FAMILIES.iter().flat_map(|family| ARCHITECTURES.map(|kind| format!("{family}{kind}"))).collect();
        return Err(checkpoint.unknown_architecture(&known.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    let config: BertConfig = checkpoint.config()?;
    config.validate()?;
    let (dim, places) = (config.hidden_size, places(checkpoint, config.max_position_embeddings)?);
    let mut model = TextModel::new(config.init(device), places, SentencePooling::of_folder(checkpoint.folder())?);
    model.head = match kind {
        "ForMaskedLM" => {
            check_tied(checkpoint)?;
            // GELU whatever the configuration says of the blocks.
            let epsilon = config.layer_norm_eps;
            let head = MaskedLanguageHead::new(dim, config.vocab_size, Activation::Gelu, epsilon, device);
            Some(TextHead::MaskedLanguage(head))
        }
        "ForSequenceClassification" => {
            let head = SequenceHead::new(dim, classes(checkpoint)?, device);
            Some(TextHead::Sequence(head.with_dense(Activation::Tanh, device)))
        }
        "ForTokenClassification" => Some(TextHead::Token(Linear::new(dim, classes(checkpoint)?, device))),
        _ => None,
    };
    let prefix = if checkpoint.weights().has_prefix("roberta.") { "roberta." } else { "" };
    let has_pooler = checkpoint.weights().has(&format!("{prefix}pooler.dense.weight"));
    model.pooler = (has_pooler && model.head.is_none()).then(|| Linear::new(dim, dim, device));
    let names = Names::new(ENCODER_NAMES).with_prefix(prefix);
    let names = match &model.head {
        Some(TextHead::MaskedLanguage(_)) => names.and(MASKED_LANGUAGE_NAMES).ignoring(is_unused),
        Some(_) => names.and(HEAD_NAMES).ignoring(is_unused),
        // Heads of another task are left out.
        None => names.ignoring(|name| is_unused(name) || name.starts_with("lm_head.")),
    };
    checkpoint.fill(model, names)
}

/// Where words stand in a table of so many positions, by the configuration of the texts.
pub(crate) fn places(checkpoint: &Checkpoint, table: usize) -> Result<Places, ModelError> {
    let PaddingConfig { pad_token_id } = checkpoint.config_or_part("text_config")?;
    let padding = pad_token_id.unwrap_or(1);
    if table > padding.saturating_add(1) {
        return Ok(Places::Behind { padding, table });
    }
    let least = padding.saturating_add(1);
    Err(checkpoint.refused(format!("max_position_embeddings must be above pad_token_id + 1 = {least}, found {table}")))
}

/// The tied decoder, stored positions, and a pooler under a head that does not read it.
fn is_unused(name: &str) -> bool {
    name.ends_with("position_ids") || name.starts_with("lm_head.decoder.") || name.starts_with("roberta.pooler.")
}
