//! BEiT: the encoder of ViT with biases by distance, the pre-training that finds the codes of hidden patches, and a classifier.
//!
//! Paper: Bao et al. 2021 (BEiT), <https://arxiv.org/abs/2106.08254>
//! Difference: where the configuration's pictures are not square, a table of biases is read as the index counts it, row by row;
//! transformers exchanges its sides, and so reads other numbers. A table of positions that is not square is interpolated as the
//! grid that it is. The segmentation head is not opened.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{VitPositions, VitVariant};
use florin_nn::{AttentionBiases, LayerNorm, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::image_heads::{CodesHead, ImageHead, ImagePooler, Reads, is_head, is_pooler};
use crate::image_model::{ImageConfig, ImageModel, Pictures, names_of};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Opened};

const ARCHITECTURES: [&str; 3] = ["BeitModel", "BeitForMaskedImageModeling", "BeitForImageClassification"];

/// What transformers calls the parts that ViT does not have.
const NAMES: [Rule; 8] = [
    rule("encoder.shared_bias.table", "~shared_position_bias.relative_position_bias_table"),
    rule("encoder.block_biases.#.table", "~layers.#.relative_position_bias.relative_position_bias_table"),
    rule("encoder.layers.#.attention_scale", "~layers.#.lambda_1"),
    rule("encoder.layers.#.mlp_scale", "~layers.#.lambda_2"),
    rule("pooler.norm", "~pooler.layernorm"),
    rule("head", "classifier"),
    rule("head.norm", "layernorm"),
    rule("head.dense", "lm_head"),
];

/// What it called them before version 5, as published checkpoints do.
const OLDER_NAMES: [Rule; 4] = [
    rule("encoder.shared_bias.table", "~encoder.relative_position_bias.relative_position_bias_table"),
    rule(
        "encoder.block_biases.#.table",
        "~encoder.layer.#.attention.attention.relative_position_bias.relative_position_bias_table",
    ),
    rule("encoder.layers.#.attention_scale", "~encoder.layer.#.lambda_1"),
    rule("encoder.layers.#.mlp_scale", "~encoder.layer.#.lambda_2"),
];

/// What is BEiT's own in a `config.json`, with transformers' defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct BeitConfig {
    vocab_size: usize,
    use_mask_token: bool,
    use_absolute_position_embeddings: bool,
    use_relative_position_bias: bool,
    use_shared_relative_position_bias: bool,
    layer_scale_init_value: f64,
    use_mean_pooling: bool,
}

impl Default for BeitConfig {
    fn default() -> Self {
        Self {
            vocab_size: 8192,
            use_mask_token: false,
            use_absolute_position_embeddings: false,
            use_relative_position_bias: false,
            use_shared_relative_position_bias: false,
            layer_scale_init_value: 0.1,
            use_mean_pooling: true,
        }
    }
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let own: BeitConfig = checkpoint.config()?;
    let config: ImageConfig = checkpoint.config()?;
    let sizes = config.sizes(checkpoint)?;
    let has_positions = own.use_absolute_position_embeddings;
    let variant = VitVariant {
        mask_token: own.use_mask_token,
        positions: if has_positions { VitPositions::Learned } else { VitPositions::Absent },
        shared_bias: own.use_shared_relative_position_bias,
        block_biases: own.use_relative_position_bias,
        layer_scale: (own.layer_scale_init_value > 0.0).then_some(own.layer_scale_init_value),
        biases: AttentionBiases::ALL_BUT_KEY,
        final_norm: !own.use_mean_pooling,
        ..config.variant("beit")?
    };
    let mut model = ImageModel::new(sizes.init_as(&variant, device), Pictures::of(&sizes));
    let norm = || LayerNorm::new(sizes.dim, sizes.epsilon, device);
    let pooler = || match own.use_mean_pooling {
        true => ImagePooler { norm: Some(norm()), ..ImagePooler::of(Reads::Patches) },
        false => ImagePooler::of(Reads::ClassToken),
    };
    let ignored = match checkpoint.architecture()? {
        "BeitModel" => {
            let weights = checkpoint.weights();
            let is_there = |name: &&str| weights.has(name);
            let has_norm = ["pooler.layernorm.weight", "beit.pooler.layernorm.weight"].iter().any(is_there);
            model.pooler = (has_norm || !own.use_mean_pooling).then(pooler);
            is_index_or_head
        }
        "BeitForMaskedImageModeling" => {
            if !(1..=1_048_576).contains(&own.vocab_size) {
                let found = own.vocab_size;
                return Err(checkpoint.refused(format!("vocab_size must lie between 1 and 1048576, found {found}")));
            }
            let dense = Linear::new(sizes.dim, own.vocab_size, device);
            model.head = Some(ImageHead::Codes(CodesHead { norm: norm(), dense }));
            is_index_or_pooler
        }
        "BeitForImageClassification" => {
            model.pooler = Some(pooler());
            model.head = Some(ImageHead::Classes(Linear::new(sizes.dim, classes(checkpoint)?, device)));
            is_index
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    };
    let is_older = checkpoint.weights().names().any(|name| name.contains("encoder.layer."));
    let names = names(names_of(checkpoint, "beit."), is_older);
    checkpoint.fill(model, names.ignoring(ignored))
}

/// ViT's names with what is called otherwise here.
fn names(names: Names, is_older: bool) -> Names {
    let names = names.and(NAMES);
    if is_older { names.and(OLDER_NAMES) } else { names }
}

/// Where in the table the bias of two patches is: sizes alone say it, and older files keep it.
fn is_index(name: &str) -> bool {
    name.ends_with("relative_position_index")
}

fn is_index_or_pooler(name: &str) -> bool {
    is_index(name) || is_pooler(name)
}

fn is_index_or_head(name: &str) -> bool {
    is_index(name) || is_head(name) || name.starts_with("lm_head.") || name.starts_with("layernorm.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_checkpoints_have_older_names() {
        let older = names(Names::new([]).with_prefix("beit."), true);
        let table = "relative_position_bias.relative_position_bias_table";
        for (own, expected) in [
            ("encoder.shared_bias.table", format!("beit.encoder.{table}")),
            ("encoder.block_biases.3.table", format!("beit.encoder.layer.3.attention.attention.{table}")),
            ("encoder.layers.3.attention_scale", "beit.encoder.layer.3.lambda_1".to_owned()),
            ("encoder.layers.3.mlp_scale", "beit.encoder.layer.3.lambda_2".to_owned()),
            ("pooler.norm.weight", "beit.pooler.layernorm.weight".to_owned()),
        ] {
            assert_eq!(older.locate(own).name, expected);
        }
    }
}
