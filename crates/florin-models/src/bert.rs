//! BERT and MiniLM: the encoder, with its pooler, and heads for masked words, sequences and tokens.
//!
//! Paper: Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>
//! Difference: none; the next-sentence head of `BertForPreTraining` is left out.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{BertConfig, BertEncoder, activation};
use florin_nn::Linear;

use crate::ModelError;
use crate::checkpoint;
use crate::classes::classes;
use crate::names::{Names, Rule, rule};
use crate::sentence::SentencePooling;
use crate::system::{Checkpoint, Opened};
use crate::text_heads::{ClassHead, MaskedLanguageHead, TextHead, check_tied};
use crate::text_model::{Places, TextEncoder, TextModel};
use crate::weights::Weights;

const ARCHITECTURES: [&str; 5] = [
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertForTokenClassification",
];

/// What transformers calls the parts of the encoder.
pub(crate) const ENCODER_NAMES: [Rule; 14] = [
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
];

/// What it calls the heads.
pub(crate) const HEAD_NAMES: [Rule; 4] = [
    rule("head.classifier", "classifier"),
    rule("head.dense", "cls.predictions.transform.dense"),
    rule("head.norm", "cls.predictions.transform.LayerNorm"),
    rule("head.bias", "cls.predictions.bias"),
];

/// Opens the encoder alone, whatever stands on it in the file.
pub fn open_encoder(folder: &Path, device: &Device) -> Result<(BertConfig, BertEncoder), ModelError> {
    let config = read_config(&folder.join("config.json"))?;
    let weights = Weights::open(folder)?;
    let rules = ENCODER_NAMES.iter().map(|rule| rule.without("encoder"));
    let prefix = if weights.has_prefix("bert.") { "bert." } else { "" };
    let names = Names::new(rules).with_prefix(prefix).ignoring(is_beside_the_encoder);
    let (encoder, _) = checkpoint::fill(config.init(device), &weights, &names, None)?;
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

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

/// The model of a checkpoint, to be trained or taken apart; with new weights where there are none to fill it with.
pub fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let config: BertConfig = checkpoint.config()?;
    config.validate()?;
    let places = Places::FromTheStart(config.max_position_embeddings);
    let mut model = TextModel::new(
        TextEncoder::Bert(config.init(device)),
        places,
        SentencePooling::of_folder(checkpoint.folder())?,
    );
    let architecture = checkpoint.architecture()?;
    model.head = match architecture.strip_prefix("Bert") {
        Some("Model") => None,
        Some(head) => bert_head(checkpoint, &config, head, device)?,
        None => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    };
    if model.head.is_none() && architecture != "BertModel" {
        return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
    }
    let prefix = if checkpoint.weights().has_prefix("bert.") { "bert." } else { "" };
    // A sentence encoder is often saved without the pooler that it does not use.
    let has_pooler = checkpoint.weights().has(&format!("{prefix}pooler.dense.weight"));
    let needs_pooler = has_pooler || matches!(model.head, Some(TextHead::Sequence(_)));
    model.pooler = needs_pooler.then(|| Linear::new(config.hidden_size, config.hidden_size, device));
    let names = bert_names(&model).with_prefix(prefix).ignoring(is_unused);
    checkpoint.fill(model, names)
}

/// The head of an architecture as BERT and LayoutLM have it, by what follows the family's name; none that is known otherwise.
pub(crate) fn bert_head(
    checkpoint: &Checkpoint,
    config: &BertConfig,
    head: &str,
    device: &Device,
) -> Result<Option<TextHead>, ModelError> {
    let dim = config.hidden_size;
    Ok(Some(match head {
        "ForMaskedLM" | "ForPreTraining" => {
            check_tied(checkpoint)?;
            let activation = activation("bert", &config.hidden_act)?;
            let head = MaskedLanguageHead::new(dim, config.vocab_size, activation, config.layer_norm_eps, device);
            TextHead::MaskedLanguage(head)
        }
        "ForSequenceClassification" => TextHead::Sequence(ClassHead::new(dim, classes(checkpoint)?, device)),
        "ForTokenClassification" => TextHead::Token(ClassHead::new(dim, classes(checkpoint)?, device)),
        _ => return Ok(None),
    }))
}

/// The names of a model, which a masked-language head shares some of with a head of classes.
pub(crate) fn bert_names(model: &TextModel) -> Names {
    let [classes, masked @ ..] = HEAD_NAMES;
    let names = Names::new(ENCODER_NAMES);
    match &model.head {
        Some(TextHead::MaskedLanguage(_)) => names.and(masked),
        _ => names.and([classes]),
    }
}

/// The tied decoder, whose weight is the word embeddings' and whose bias the head's; positions that older files store; the
/// next-sentence head.
pub(crate) fn is_unused(name: &str) -> bool {
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
