//! LiLT: words that attend by what they say and by where they stand, with heads for sequences and tokens.
//!
//! Paper: Wang et al. 2022 (LiLT), <https://arxiv.org/abs/2202.13669>
//! Difference: none; the head that marks answers, `LiltForQuestionAnswering`, is left out.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::LiltConfig;
use florin_nn::Linear;

use crate::ModelError;
use crate::bert::ENCODER_NAMES;
use crate::names::{Names, Rule, rule};
use crate::roberta::{class_head, head_names, places};
use crate::sentence::SentencePooling;
use crate::system::{Checkpoint, Opened};
use crate::text_model::{TextEncoder, TextModel};

const ARCHITECTURES: [&str; 3] = ["LiltModel", "LiltForSequenceClassification", "LiltForTokenClassification"];

/// What transformers calls the parts beside the text flow's, which have BERT's names.
const LAYOUT_NAMES: [Rule; 16] = [
    rule("encoder.boxes.x", "~layout_embeddings.x_position_embeddings"),
    rule("encoder.boxes.y", "~layout_embeddings.y_position_embeddings"),
    rule("encoder.boxes.height", "~layout_embeddings.h_position_embeddings"),
    rule("encoder.boxes.width", "~layout_embeddings.w_position_embeddings"),
    rule("encoder.box_projection", "~layout_embeddings.box_linear_embeddings"),
    rule("encoder.box_positions", "~layout_embeddings.box_position_embeddings"),
    rule("encoder.box_norm", "~layout_embeddings.LayerNorm"),
    rule("encoder.layout_layers.#.attention.query", "~encoder.layer.#.attention.self.layout_query"),
    rule("encoder.layout_layers.#.attention.key", "~encoder.layer.#.attention.self.layout_key"),
    rule("encoder.layout_layers.#.attention.value", "~encoder.layer.#.attention.self.layout_value"),
    rule("encoder.layout_layers.#.attention.output", "~encoder.layer.#.attention.layout_output.dense"),
    rule("encoder.layout_layers.#.attention_norm", "~encoder.layer.#.attention.layout_output.LayerNorm"),
    rule("encoder.layout_layers.#.mlp.up", "~encoder.layer.#.layout_intermediate.dense"),
    rule("encoder.layout_layers.#.mlp.down", "~encoder.layer.#.layout_output.dense"),
    rule("encoder.layout_layers.#.mlp_norm", "~encoder.layer.#.layout_output.LayerNorm"),
    rule("pooler", "~pooler.dense"),
];

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let architecture = checkpoint.architecture()?;
    if !ARCHITECTURES.contains(&architecture) {
        return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
    }
    let config: LiltConfig = checkpoint.config()?;
    let encoder = TextEncoder::Lilt(config.init(device)?);
    let dim = config.text.hidden_size;
    let places = places(checkpoint, config.text.max_position_embeddings, 0)?;
    let mut model = TextModel::new(encoder, places, SentencePooling::of_folder(checkpoint.folder())?);
    model.head = class_head(checkpoint, dim, architecture.trim_start_matches("Lilt"), device)?;
    let prefix = if checkpoint.weights().has_prefix("lilt.") { "lilt." } else { "" };
    let has_pooler = checkpoint.weights().has(&format!("{prefix}pooler.dense.weight"));
    model.pooler = (has_pooler && model.head.is_none()).then(|| Linear::new(dim, dim, device));
    let text_names = ENCODER_NAMES.map(|rule| rule.without("encoder").inside("encoder.text."));
    let names = Names::new(text_names).and(LAYOUT_NAMES).and(head_names(model.head.as_ref()).iter().copied());
    checkpoint.fill(model, names.with_prefix(prefix).ignoring(is_unused))
}

/// Stored positions, and a pooler under a head that does not read it.
fn is_unused(name: &str) -> bool {
    name.ends_with("position_ids") || name.starts_with("lilt.pooler.")
}
