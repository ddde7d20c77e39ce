//! DINOv2, with and without registers: the encoder of ViT with layer scale, and a classifier of the class token beside the mean of the
//! patches.
//!
//! Paper: Oquab et al. 2023 (DINOv2), <https://arxiv.org/abs/2304.07193>
//! Difference: a table of positions that is not square is interpolated as the grid that it is.
//! Paper: Darcet et al. 2023 (registers), <https://arxiv.org/abs/2309.16588>
//! Difference: the same.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{Resizing, Sides, VitVariant};
use florin_nn::{Activation, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::image_heads::{ImageHead, ImagePooler, Reads, is_head};
use crate::image_model::{ImageConfig, ImageModel, Pictures, names_of};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Opened};

const ARCHITECTURES: [&str; 4] = [
    "Dinov2Model",
    "Dinov2ForImageClassification",
    "Dinov2WithRegistersModel",
    "Dinov2WithRegistersForImageClassification",
];

/// What transformers calls the parts, where ViT's are called otherwise.
const NAMES: [Rule; 10] = [
    rule("encoder.registers", "~embeddings.register_tokens"),
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.q_proj"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.k_proj"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.v_proj"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.o_proj"),
    rule("encoder.layers.#.attention_norm", "~encoder.layer.#.norm1"),
    rule("encoder.layers.#.attention_scale", "~encoder.layer.#.layer_scale1.lambda1"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layer.#.norm2"),
    rule("encoder.layers.#.mlp_scale", "~encoder.layer.#.layer_scale2.lambda1"),
    rule("head", "classifier"),
];

const PLAIN: [Rule; 2] = [
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.mlp.fc1"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.mlp.fc2"),
];

const GATED: [Rule; 3] = [
    rule("encoder.layers.#.mlp.gate", "~encoder.layer.#.mlp.gate_proj"),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.mlp.up_proj"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.mlp.down_proj"),
];

/// What it called the attention's parts before version 5, as published checkpoints do.
const OLDER_NAMES: [Rule; 4] = [
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.attention.query"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.attention.key"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.attention.value"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.output.dense"),
];

/// There gate and perceptron are one matrix.
const OLDER_GATED: [Rule; 3] = [
    rule("encoder.layers.#.mlp.gate", "~encoder.layer.#.mlp.weights_in").rows(0, 2),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.mlp.weights_in").rows(1, 2),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.mlp.weights_out"),
];

/// The most registers of a model.
const MOST_REGISTERS: usize = 4_096;

/// What is DINOv2's own in a `config.json`, with transformers' defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Dinov2Config {
    patch_size: Sides,
    layer_norm_eps: f64,
    mlp_ratio: f64,
    layerscale_value: f64,
    use_swiglu_ffn: bool,
    use_mask_token: bool,
    num_register_tokens: usize,
}

impl Default for Dinov2Config {
    fn default() -> Self {
        Self {
            patch_size: Sides::Square(14),
            layer_norm_eps: 1e-6,
            mlp_ratio: 4.0,
            layerscale_value: 1.0,
            use_swiglu_ffn: false,
            use_mask_token: true,
            num_register_tokens: 4,
        }
    }
}

impl Dinov2Config {
    /// Width inside the perceptrons of blocks of this width; a gate takes a third of it, rounded to whole eights.
    fn hidden(&self, dim: usize) -> usize {
        let hidden = (dim as f64 * self.mlp_ratio) as usize;
        if self.use_swiglu_ffn { ((hidden as f64 * 2.0 / 3.0) as usize).div_ceil(8) * 8 } else { hidden }
    }
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let mut own: Dinov2Config = checkpoint.config()?;
    let usual: ImageConfig = checkpoint.config()?;
    if !(own.mlp_ratio > 0.0 && own.mlp_ratio <= 1_024.0) {
        return Err(checkpoint.refused(format!("mlp_ratio must lie between 0 and 1024, found {}", own.mlp_ratio)));
    }
    let has_registers = checkpoint.model_type()? == "dinov2_with_registers";
    if has_registers {
        // transformers gives these a mask token always, and patches of ViT's size unless the configuration says otherwise.
        own = Dinov2Config { use_mask_token: true, patch_size: usual.patch_size, ..own };
    }
    if own.num_register_tokens > MOST_REGISTERS {
        let found = own.num_register_tokens;
        return Err(checkpoint.refused(format!("num_register_tokens must be at most {MOST_REGISTERS}, found {found}")));
    }
    let (patch_size, layer_norm_eps) = (own.patch_size, own.layer_norm_eps);
    let config = ImageConfig { patch_size, layer_norm_eps, intermediate_size: own.hidden(usual.hidden_size), ..usual };
    let sizes = config.sizes(checkpoint)?;
    let family = if has_registers { "dinov2_with_registers" } else { "dinov2" };
    let usual = config.variant(family)?;
    let variant = VitVariant {
        registers: if has_registers { own.num_register_tokens } else { 0 },
        mask_token: own.use_mask_token,
        resizing: if has_registers { Resizing::AntialiasedBicubic } else { Resizing::Bicubic },
        activation: if own.use_swiglu_ffn { Activation::Silu } else { usual.activation },
        gated: own.use_swiglu_ffn,
        layer_scale: Some(own.layerscale_value),
        ..usual
    };
    let mut model = ImageModel::new(sizes.init_as(&variant, device), Pictures::of(&sizes));
    model.pooler = match checkpoint.architecture()? {
        "Dinov2Model" | "Dinov2WithRegistersModel" => Some(ImagePooler::of(Reads::ClassToken)),
        "Dinov2ForImageClassification" | "Dinov2WithRegistersForImageClassification" => {
            model.head = Some(ImageHead::Classes(Linear::new(2 * sizes.dim, classes(checkpoint)?, device)));
            Some(ImagePooler::of(Reads::Both))
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    };
    let is_older = checkpoint.weights().names().any(|name| name.contains(".attention.attention."));
    let prefix = if has_registers { "dinov2_with_registers." } else { "dinov2." };
    let names = names(names_of(checkpoint, prefix), own.use_swiglu_ffn, is_older);
    let names = if model.head.is_some() { names } else { names.ignoring(is_head) };
    checkpoint.fill(model, names)
}

/// ViT's names with what is called otherwise here.
fn names(names: Names, is_gated: bool, is_older: bool) -> Names {
    let names = names.and(NAMES);
    let names = if is_older { names.and(OLDER_NAMES) } else { names };
    match (is_gated, is_older) {
        (false, _) => names.and(PLAIN),
        (true, false) => names.and(GATED),
        (true, true) => names.and(OLDER_GATED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gated_perceptron_is_narrower_in_whole_eights() {
        let gated = Dinov2Config { use_swiglu_ffn: true, ..Default::default() };
        assert_eq!([1536, 24].map(|dim| gated.hidden(dim)), [4096, 64]);
        assert_eq!(Dinov2Config::default().hidden(24), 96);
    }

    #[test]
    fn what_a_configuration_leaves_out_is_as_in_transformers() {
        let config: Dinov2Config = serde_json::from_str("{}").unwrap();
        assert_eq!((config.patch_size, config.layer_norm_eps), (Sides::Square(14), 1e-6));
        assert!(config.use_mask_token && !config.use_swiglu_ffn);
    }

    #[test]
    fn published_checkpoints_have_older_names() {
        let older = names(Names::new([]).with_prefix("dinov2."), true, true);
        for (own, expected) in [
            ("attention.query.bias", "attention.attention.query.bias"),
            ("attention.output.weight", "attention.output.dense.weight"),
            ("attention_norm.weight", "norm1.weight"),
            ("mlp_scale", "layer_scale2.lambda1"),
            ("mlp.gate.weight", "mlp.weights_in.weight"),
            ("mlp.up.bias", "mlp.weights_in.bias"),
            ("mlp.down.bias", "mlp.weights_out.bias"),
        ] {
            let found = older.locate(&format!("encoder.layers.3.{own}")).name;
            assert_eq!(found, format!("dinov2.encoder.layer.3.{expected}"));
        }
    }
}
