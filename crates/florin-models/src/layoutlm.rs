//! LayoutLM: a BERT whose words know where they stand on a page.
//!
//! Paper: Xu et al. 2019, <https://arxiv.org/abs/1912.13318>
//! Difference: none; this is the first version, without pictures.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{BertConfig, BoxEmbeddings};
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::bert::{bert_head, bert_names, is_unused};
use crate::names::{Rule, rule};
use crate::sentence::SentencePooling;
use crate::system::{Checkpoint, Opened};
use crate::text_model::{Places, TextEncoder, TextModel};

const ARCHITECTURES: [&str; 4] =
    ["LayoutLMModel", "LayoutLMForMaskedLM", "LayoutLMForSequenceClassification", "LayoutLMForTokenClassification"];

/// What transformers calls the tables beside BERT's.
const NAMES: [Rule; 4] = [
    rule("boxes.x", "~embeddings.x_position_embeddings"),
    rule("boxes.y", "~embeddings.y_position_embeddings"),
    rule("boxes.height", "~embeddings.h_position_embeddings"),
    rule("boxes.width", "~embeddings.w_position_embeddings"),
];

#[derive(Deserialize)]
struct PageConfig {
    #[serde(default = "default_positions")]
    max_2d_position_embeddings: usize,
}

fn default_positions() -> usize {
    1024
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<TextModel>, ModelError> {
    let architecture = checkpoint.architecture()?;
    if !ARCHITECTURES.contains(&architecture) {
        return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
    }
    let config: BertConfig = checkpoint.config()?;
    config.validate()?;
    let PageConfig { max_2d_position_embeddings } = checkpoint.config()?;
    let places = Places::FromTheStart(config.max_position_embeddings);
    let mut model = TextModel::new(
        TextEncoder::Bert(config.init(device)),
        places,
        SentencePooling::of_folder(checkpoint.folder())?,
    );
    model.boxes = Some(BoxEmbeddings::new(max_2d_position_embeddings, config.hidden_size, device)?);
    model.pooler = Some(Linear::new(config.hidden_size, config.hidden_size, device));
    model.head = bert_head(checkpoint, &config, architecture.trim_start_matches("LayoutLM"), device)?;
    let prefix = if checkpoint.weights().has_prefix("layoutlm.") { "layoutlm." } else { "" };
    let names = bert_names(&model).and(NAMES).with_prefix(prefix).ignoring(is_unused);
    checkpoint.fill(model, names)
}
