//! ViT and DeiT in the layout of timm, whose configuration names an architecture (`vit_base_patch16_224`) and what deviates from it.
//!
//! Paper: Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>
//! Difference: the plain transformers alone; with layer scale, registers, other pooling and whatever else timm knows they are refused.

use burn::prelude::*;
use florin_encoders::{Sides, VitConfig, VitVariant};
use florin_nn::{AttentionBiases, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::image_heads::{DistilledHead, ImageHead};
use crate::image_model::{ImageModel, Pictures};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Opened};

/// timm's norms all have this epsilon.
const EPSILON: f64 = 1e-6;

/// Width, blocks and heads by the word in an architecture's name.
const SIZES: [(&str, [usize; 3]); 5] = [
    ("tiny", [192, 12, 3]),
    ("small", [384, 12, 6]),
    ("base", [768, 12, 12]),
    ("large", [1024, 24, 16]),
    ("huge", [1280, 32, 16]),
];

/// What timm calls the parts.
const NAMES: [Rule; 14] = [
    rule("encoder.patch_embedding", "patch_embed.proj"),
    rule("encoder.class_token", "cls_token"),
    rule("encoder.distillation_token", "dist_token"),
    rule("encoder.position_embeddings", "pos_embed"),
    rule("encoder.layers.#.attention.query", "blocks.#.attn.qkv").rows(0, 3),
    rule("encoder.layers.#.attention.key", "blocks.#.attn.qkv").rows(1, 3),
    rule("encoder.layers.#.attention.value", "blocks.#.attn.qkv").rows(2, 3),
    rule("encoder.layers.#.attention.output", "blocks.#.attn.proj"),
    rule("encoder.layers.#.attention_norm", "blocks.#.norm1"),
    rule("encoder.layers.#.mlp.up", "blocks.#.mlp.fc1"),
    rule("encoder.layers.#.mlp.down", "blocks.#.mlp.fc2"),
    rule("encoder.layers.#.mlp_norm", "blocks.#.norm2"),
    rule("encoder.norm", "norm"),
    rule("head.distillation", "head_dist"),
];

#[derive(Deserialize)]
struct TimmConfig {
    num_classes: usize,
    global_pool: Option<String>,
    #[serde(default)]
    model_args: Arguments,
}

/// What deviates from the architecture: what is not listed is not read, and so refused.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    img_size: Option<Sides>,
    patch_size: Option<usize>,
    in_chans: Option<usize>,
    embed_dim: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: Option<f64>,
    qkv_bias: Option<bool>,
    global_pool: Option<String>,
    /// What the configuration says too.
    #[serde(rename = "num_classes")]
    _num_classes: Option<usize>,
}

/// What the name of an architecture says.
struct Named {
    sizes: [usize; 3],
    patch: usize,
    side: usize,
    is_distilled: bool,
}

impl Named {
    /// Of `vit_SIZE_patchN_N`, `deit_SIZE_patchN_N` or `deit_SIZE_distilled_patchN_N`.
    fn of(architecture: &str) -> Option<Self> {
        let (family, rest) = architecture.split_once('_')?;
        let (size, rest) = rest.split_once('_')?;
        let without = rest.strip_prefix("distilled_").filter(|_| family == "deit");
        let (patch, side) = without.unwrap_or(rest).strip_prefix("patch")?.split_once('_')?;
        let (_, sizes) = *SIZES.iter().find(|(name, _)| *name == size && ["vit", "deit"].contains(&family))?;
        let (patch, side) = (patch.parse().ok()?, side.parse().ok()?);
        Some(Self { sizes, patch, side, is_distilled: without.is_some() })
    }
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let TimmConfig { num_classes, global_pool, model_args } = checkpoint.config()?;
    let architecture = checkpoint.architecture()?;
    let Some(named) = Named::of(architecture) else {
        let known = "vit_SIZE_patchN_N, deit_SIZE_patchN_N, deit_SIZE_distilled_patchN_N";
        let sizes = SIZES.map(|(name, _)| name).join(", ");
        return Err(checkpoint.refused(format!("expected {known} with a SIZE of {sizes}, found {architecture}")));
    };
    if let Some(pool) = [&global_pool, &model_args.global_pool].into_iter().flatten().find(|pool| *pool != "token") {
        return Err(checkpoint.refused(format!("global_pool must be token, found {pool}")));
    }
    let [dim, layers, heads] = named.sizes;
    let [height, width] = model_args.img_size.unwrap_or(Sides::Square(named.side)).both();
    let dim = model_args.embed_dim.unwrap_or(dim);
    let sizes = VitConfig {
        height,
        width,
        patch: model_args.patch_size.unwrap_or(named.patch),
        channels: model_args.in_chans.unwrap_or(3),
        dim,
        layers: model_args.depth.unwrap_or(layers),
        heads: model_args.num_heads.unwrap_or(heads),
        hidden: (dim as f64 * model_args.mlp_ratio.unwrap_or(4.0)) as usize,
        class_token: true,
        epsilon: EPSILON,
    };
    sizes.validate()?;
    let biases = if model_args.qkv_bias == Some(false) { AttentionBiases::OUTPUT } else { AttentionBiases::ALL };
    let variant = VitVariant { distillation_token: named.is_distilled, biases, ..Default::default() };
    let pictures = Pictures { grid: Some(sizes.grid()), ..Pictures::of(&sizes) };
    let mut model = ImageModel::new(sizes.init_as(&variant, device), pictures);
    let scores = || Linear::new(dim, num_classes, device);
    let names = Names::new(NAMES);
    let names = match named.is_distilled && num_classes > 0 {
        true => names.and([rule("head.class", "head")]),
        false => names,
    };
    model.head = match (num_classes, named.is_distilled) {
        (0, _) => None,
        (_, true) => Some(ImageHead::Distilled(DistilledHead { class: scores(), distillation: scores() })),
        (_, false) => Some(ImageHead::Classes(scores())),
    };
    checkpoint.fill(model, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_sizes_and_others_are_not_guessed_at() {
        let named = Named::of("deit_small_distilled_patch16_384").unwrap();
        assert_eq!((named.sizes, named.patch, named.side, named.is_distilled), ([384, 12, 6], 16, 384, true));
        assert!(!Named::of("vit_large_patch32_224").unwrap().is_distilled);
        for other in ["vit_base_patch16_clip_224", "vit_base_patch16_224_miil", "deit3_base_patch16_224", "resnet50"] {
            assert!(Named::of(other).is_none(), "{other}");
        }
    }
}
