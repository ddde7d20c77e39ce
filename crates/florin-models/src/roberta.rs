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
use crate::text_heads::{ClassHead, MaskedLanguageHead, TextHead, check_tied};
use crate::text_model::{Places, TextEncoder, TextModel};

/// Every family's, after its name.
const ARCHITECTURES: [&str; 4] = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"];
/// The families, by the beginning of an architecture's name.
const FAMILIES: [&str; 3] = ["Roberta", "XLMRoberta", "Camembert"];

/// What transformers calls the heads.
const SEQUENCE_NAMES: [Rule; 2] =
    [rule("head.dense", "classifier.dense"), rule("head.classifier", "classifier.out_proj")];

const TOKEN_NAMES: [Rule; 1] = [rule("head.classifier", "classifier")];

const MASKED_LANGUAGE_NAMES: [Rule; 3] =
    [rule("head.dense", "lm_head.dense"), rule("head.norm", "lm_head.layer_norm"), rule("head.bias", "lm_head.bias")];

#[derive(Deserialize)]
struct PaddingConfig {
    pad_token_id: Option<usize>,
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
    let dim = config.hidden_size;
    let places = places(checkpoint, config.max_position_embeddings, 1)?;
    let mut model = TextModel::new(
        TextEncoder::Bert(config.init(device)),
        places,
        SentencePooling::of_folder(checkpoint.folder())?,
    );
    model.head = match kind {
        "ForMaskedLM" => {
            check_tied(checkpoint)?;
            // GELU whatever the configuration says of the blocks.
            let epsilon = config.layer_norm_eps;
            let head = MaskedLanguageHead::new(dim, config.vocab_size, Activation::Gelu, epsilon, device);
            Some(TextHead::MaskedLanguage(head))
        }
        _ => class_head(checkpoint, dim, kind, device)?,
    };
    let prefix = if checkpoint.weights().has_prefix("roberta.") { "roberta." } else { "" };
    let has_pooler = checkpoint.weights().has(&format!("{prefix}pooler.dense.weight"));
    model.pooler = (has_pooler && model.head.is_none()).then(|| Linear::new(dim, dim, device));
    let names = Names::new(ENCODER_NAMES).with_prefix(prefix).and(head_names(model.head.as_ref()).iter().copied());
    let names = match &model.head {
        Some(_) => names.ignoring(is_unused),
        // Heads of another task are left out.
        None => names.ignoring(|name| is_unused(name) || name.starts_with("lm_head.")),
    };
    checkpoint.fill(model, names)
}

/// Places behind the padding's, which is `usual` where the configuration names no other.
pub(crate) fn places(checkpoint: &Checkpoint, table: usize, usual: usize) -> Result<Places, ModelError> {
    let PaddingConfig { pad_token_id } = checkpoint.config_or_part("text_config")?;
    let padding = pad_token_id.unwrap_or(usual);
    let least = padding.saturating_add(1);
    if table > least {
        return Ok(Places::Behind { padding, table });
    }
    Err(checkpoint.refused(format!("max_position_embeddings must be above pad_token_id + 1 = {least}, found {table}")))
}

/// The head for classes of an architecture, by what follows the family's name; none for another.
pub(crate) fn class_head(
    checkpoint: &Checkpoint,
    dim: usize,
    kind: &str,
    device: &Device,
) -> Result<Option<TextHead>, ModelError> {
    let head = || Ok::<_, ModelError>(ClassHead::new(dim, classes(checkpoint)?, device));
    Ok(match kind {
        "ForSequenceClassification" => {
            Some(TextHead::Sequence(head()?.with_dense(Linear::new(dim, dim, device), Activation::Tanh)))
        }
        "ForTokenClassification" => Some(TextHead::Token(head()?)),
        _ => None,
    })
}

/// What transformers calls the parts of a head.
pub(crate) fn head_names(head: Option<&TextHead>) -> &'static [Rule] {
    match head {
        None => &[],
        Some(TextHead::MaskedLanguage(_)) => &MASKED_LANGUAGE_NAMES,
        Some(TextHead::Sequence(_)) => &SEQUENCE_NAMES,
        Some(TextHead::Token(_)) => &TOKEN_NAMES,
    }
}

/// The tied decoder, stored positions, and a pooler under a head that does not read it.
fn is_unused(name: &str) -> bool {
    name.ends_with("position_ids") || name.starts_with("lm_head.decoder.") || name.starts_with("roberta.pooler.")
}
