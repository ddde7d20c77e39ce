//! CLIP in the layout of open_clip, and in OpenAI's own, which has the same names and no configuration: tensors say its sizes.
//!
//! Paper: Ilharco et al. 2021 (open_clip), <https://doi.org/10.5281/zenodo.5143773>
//! Difference: vision and text transformers of its own kind; towers from other libraries (`timm_model_name`, `hf_model_name`) and
//! residual networks are refused.

use burn::prelude::*;
use florin_encoders::{ImageTowerConfig, TextTowerConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ModelError;
use crate::clip::{Clip, EndOfText};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Opened};
use crate::weights::Weights;

/// open_clip's norms all have PyTorch's own epsilon.
const EPSILON: f64 = 1e-5;
/// The width of a head where nothing says it.
const HEAD_WIDTH: usize = 64;

/// What open_clip calls the parts.
const NAMES: [Rule; 33] = [
    rule("text.word_embeddings", "token_embedding"),
    rule("text.position_embeddings.weight", "positional_embedding"),
    rule("text.layers.#.attention.query.weight", "transformer.resblocks.#.attn.in_proj_weight").rows(0, 3),
    rule("text.layers.#.attention.key.weight", "transformer.resblocks.#.attn.in_proj_weight").rows(1, 3),
    rule("text.layers.#.attention.value.weight", "transformer.resblocks.#.attn.in_proj_weight").rows(2, 3),
    rule("text.layers.#.attention.query.bias", "transformer.resblocks.#.attn.in_proj_bias").rows(0, 3),
    rule("text.layers.#.attention.key.bias", "transformer.resblocks.#.attn.in_proj_bias").rows(1, 3),
    rule("text.layers.#.attention.value.bias", "transformer.resblocks.#.attn.in_proj_bias").rows(2, 3),
    rule("text.layers.#.attention.output", "transformer.resblocks.#.attn.out_proj"),
    rule("text.layers.#.attention_norm", "transformer.resblocks.#.ln_1"),
    rule("text.layers.#.mlp.up", "transformer.resblocks.#.mlp.c_fc"),
    rule("text.layers.#.mlp.down", "transformer.resblocks.#.mlp.c_proj"),
    rule("text.layers.#.mlp_norm", "transformer.resblocks.#.ln_2"),
    rule("text.norm", "ln_final"),
    rule("text_projection.weight", "text_projection").transposed(),
    rule("image.patch_embedding", "visual.conv1"),
    rule("image.class_token", "visual.class_embedding"),
    rule("image.position_embeddings", "visual.positional_embedding"),
    rule("image.embedding_norm", "visual.ln_pre"),
    rule("image.layers.#.attention.query.weight", "visual.transformer.resblocks.#.attn.in_proj_weight").rows(0, 3),
    rule("image.layers.#.attention.key.weight", "visual.transformer.resblocks.#.attn.in_proj_weight").rows(1, 3),
    rule("image.layers.#.attention.value.weight", "visual.transformer.resblocks.#.attn.in_proj_weight").rows(2, 3),
    rule("image.layers.#.attention.query.bias", "visual.transformer.resblocks.#.attn.in_proj_bias").rows(0, 3),
    rule("image.layers.#.attention.key.bias", "visual.transformer.resblocks.#.attn.in_proj_bias").rows(1, 3),
    rule("image.layers.#.attention.value.bias", "visual.transformer.resblocks.#.attn.in_proj_bias").rows(2, 3),
    rule("image.layers.#.attention.output", "visual.transformer.resblocks.#.attn.out_proj"),
    rule("image.layers.#.attention_norm", "visual.transformer.resblocks.#.ln_1"),
    rule("image.layers.#.mlp.up", "visual.transformer.resblocks.#.mlp.c_fc"),
    rule("image.layers.#.mlp.down", "visual.transformer.resblocks.#.mlp.c_proj"),
    rule("image.layers.#.mlp_norm", "visual.transformer.resblocks.#.ln_2"),
    rule("image.norm", "visual.ln_post"),
    rule("image_projection.weight", "visual.proj").transposed(),
    rule("similarity.log_scale", "logit_scale"),
];

/// `model_cfg`: what is not listed is not read, and so refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelConfig {
    embed_dim: usize,
    vision_cfg: ImageConfig,
    text_cfg: TextConfig,
    #[serde(default)]
    quick_gelu: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageConfig {
    image_size: usize,
    patch_size: usize,
    width: usize,
    layers: usize,
    #[serde(default = "default_head_width")]
    head_width: usize,
    #[serde(default = "default_ratio")]
    mlp_ratio: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextConfig {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    #[serde(default = "default_ratio")]
    mlp_ratio: f64,
}

fn default_head_width() -> usize {
    HEAD_WIDTH
}

fn default_ratio() -> f64 {
    4.0
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Clip>, ModelError> {
    let ModelConfig { embed_dim, vision_cfg, text_cfg, quick_gelu } = checkpoint.part_of_config("model_cfg")?;
    let activation = if quick_gelu { "quick_gelu" } else { "gelu" }.to_owned();
    let text = TextTowerConfig {
        vocab_size: text_cfg.vocab_size,
        hidden_size: text_cfg.width,
        num_hidden_layers: text_cfg.layers,
        num_attention_heads: text_cfg.heads,
        intermediate_size: (text_cfg.width as f64 * text_cfg.mlp_ratio) as usize,
        max_position_embeddings: text_cfg.context_length,
        hidden_act: activation.clone(),
        layer_norm_eps: EPSILON,
        causal: true,
    };
    let image = ImageTowerConfig {
        image_size: vision_cfg.image_size,
        patch_size: vision_cfg.patch_size,
        num_channels: 3,
        hidden_size: vision_cfg.width,
        num_hidden_layers: vision_cfg.layers,
        num_attention_heads: vision_cfg.width / vision_cfg.head_width.max(1),
        intermediate_size: (vision_cfg.width as f64 * vision_cfg.mlp_ratio) as usize,
        hidden_act: activation,
        layer_norm_eps: EPSILON,
        class_token: true,
    };
    let shared = Some(embed_dim);
    let clip = Clip::new(Some((text, EndOfText::Largest, shared)), Some((image, shared)), device)?;
    // Half of OpenAI's files store the sizes beside the weights.
    let is_size = |name: &str| ["input_resolution", "context_length", "vocab_size"].contains(&name);
    checkpoint.fill(clip, Names::new(NAMES).ignoring(is_size))
}

/// The configuration that OpenAI's tensors imply; none if they are not OpenAI's.
pub(crate) fn config_of(weights: &Weights) -> Option<Value> {
    let shape = |name: &str| weights.shape(name);
    let [width, 3, patch_size, _] = *shape("visual.conv1.weight")? else { return None };
    let [places, _] = *shape("visual.positional_embedding")? else { return None };
    let [context_length, _] = *shape("positional_embedding")? else { return None };
    let [vocab_size, text_width] = *shape("token_embedding.weight")? else { return None };
    let [_, embed_dim] = *shape("text_projection")? else { return None };
    let layers = |prefix: &str| {
        let layer = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        weights.names().filter_map(layer).max().map_or(0, |last| last + 1)
    };
    let image_size = places.saturating_sub(1).isqrt() * patch_size;
    Some(json!({
        "model_type": "open_clip",
        "model_cfg": {
            "embed_dim": embed_dim,
            "quick_gelu": true,
            "vision_cfg": {
                "image_size": image_size,
                "layers": layers("visual.transformer.resblocks."),
                "width": width,
                "patch_size": patch_size,
            },
            "text_cfg": {
                "context_length": context_length,
                "vocab_size": vocab_size,
                "width": text_width,
                "heads": text_width / HEAD_WIDTH,
                "layers": layers("transformer.resblocks."),
            },
        },
    }))
}
