//! MAE: the encoder of ViT, which sees some patches of a picture, and the pre-training that draws the others.
//!
//! Paper: He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>
//! Difference: noise is an input and never drawn; an encoder alone sees every patch in its place without it. Where nothing is hidden the
//! loss is zero. Pictures of another size than the configuration's are taken always, as in ViT.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{NoiseOrder, VitEncoder, VitMaeDecoder, VitMaeDecoderConfig, VitPositions, VitVariant};
use florin_losses::{MaskedImageLoss, PatchTarget, patchify};
use serde::Deserialize;

use crate::ModelError;
use crate::image_model::{ImageConfig, Pictures, names_of};
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};

const ARCHITECTURES: [&str; 2] = ["ViTMAEModel", "ViTMAEForPreTraining"];

/// What transformers calls the decoder's parts.
const NAMES: [Rule; 12] = [
    rule("decoder.input", "decoder.decoder_embed"),
    rule("decoder.position_embeddings", "decoder.decoder_pos_embed"),
    rule("decoder.layers.#.attention.query", "decoder.decoder_layers.#.attention.q_proj"),
    rule("decoder.layers.#.attention.key", "decoder.decoder_layers.#.attention.k_proj"),
    rule("decoder.layers.#.attention.value", "decoder.decoder_layers.#.attention.v_proj"),
    rule("decoder.layers.#.attention.output", "decoder.decoder_layers.#.attention.o_proj"),
    rule("decoder.layers.#.attention_norm", "decoder.decoder_layers.#.layernorm_before"),
    rule("decoder.layers.#.mlp.up", "decoder.decoder_layers.#.mlp.fc1"),
    rule("decoder.layers.#.mlp.down", "decoder.decoder_layers.#.mlp.fc2"),
    rule("decoder.layers.#.mlp_norm", "decoder.decoder_layers.#.layernorm_after"),
    rule("decoder.norm", "decoder.decoder_norm"),
    rule("decoder.head", "decoder.decoder_pred"),
];

/// What it called the blocks' parts before version 5, as published checkpoints do.
const OLDER_NAMES: [Rule; 6] = [
    rule("decoder.layers.#.attention.query", "decoder.decoder_layers.#.attention.attention.query"),
    rule("decoder.layers.#.attention.key", "decoder.decoder_layers.#.attention.attention.key"),
    rule("decoder.layers.#.attention.value", "decoder.decoder_layers.#.attention.attention.value"),
    rule("decoder.layers.#.attention.output", "decoder.decoder_layers.#.attention.output.dense"),
    rule("decoder.layers.#.mlp.up", "decoder.decoder_layers.#.intermediate.dense"),
    rule("decoder.layers.#.mlp.down", "decoder.decoder_layers.#.output.dense"),
];

/// What version 5 writes, which takes `decoder_layers` for the encoder's.
const SAVED_NAMES: [Rule; 8] = [
    rule("decoder.layers.#.attention.query", "decoder.decoder_encoder.layer.#.attention.attention.query"),
    rule("decoder.layers.#.attention.key", "decoder.decoder_encoder.layer.#.attention.attention.key"),
    rule("decoder.layers.#.attention.value", "decoder.decoder_encoder.layer.#.attention.attention.value"),
    rule("decoder.layers.#.attention.output", "decoder.decoder_encoder.layer.#.attention.output.dense"),
    rule("decoder.layers.#.attention_norm", "decoder.decoder_encoder.layer.#.layernorm_before"),
    rule("decoder.layers.#.mlp.up", "decoder.decoder_encoder.layer.#.intermediate.dense"),
    rule("decoder.layers.#.mlp.down", "decoder.decoder_encoder.layer.#.output.dense"),
    rule("decoder.layers.#.mlp_norm", "decoder.decoder_encoder.layer.#.layernorm_after"),
];

/// What is MAE's own in a `config.json`, with transformers' defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct MaskingConfig {
    mask_ratio: f64,
    norm_pix_loss: bool,
}

/// The encoder and, in pre-training, the decoder.
#[derive(Module, Debug)]
pub struct VitMae {
    /// The encoder; its positions are not trained.
    pub encoder: VitEncoder,
    /// The decoder, in pre-training.
    pub decoder: Option<VitMaeDecoder>,
    #[module(skip)]
    pictures: Pictures,
    #[module(skip)]
    masking: MaskingConfig,
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self { mask_ratio: 0.75, norm_pix_loss: false }
    }
}

impl VitMae {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: ImageConfig = checkpoint.config()?;
        let masking: MaskingConfig = checkpoint.config()?;
        if !(0.0..=1.0).contains(&masking.mask_ratio) {
            return Err(
                checkpoint.refused(format!("mask_ratio must lie between 0 and 1, found {}", masking.mask_ratio))
            );
        }
        let sizes = config.sizes(checkpoint)?;
        let variant = VitVariant { positions: VitPositions::Fixed, ..config.variant("vit_mae")? };
        let decoder = match checkpoint.architecture()? {
            "ViTMAEModel" => None,
            "ViTMAEForPreTraining" => {
                let decoder: VitMaeDecoderConfig = checkpoint.config()?;
                Some(decoder.init(&sizes, &variant, device)?)
            }
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let names = names(names_of(checkpoint, "vit."), checkpoint.weights().names());
        let names = if decoder.is_some() { names } else { names.ignoring(|name| name.starts_with("decoder.")) };
        let encoder = sizes.init_as(&variant, device);
        checkpoint.fill(Self { encoder, decoder, pictures: Pictures::of(&sizes), masking }, names)
    }

    /// Which patches are seen, by the input `noise`.
    fn order(&self, inputs: &Inputs, [batch, patches]: [usize; 2]) -> Result<Option<NoiseOrder>, ModelError> {
        let dims = "[batch, patches]";
        let noise = match &self.decoder {
            Some(_) => Some(inputs.tensor::<2>("noise", dims)?),
            None => inputs.maybe_tensor::<2>("noise", dims)?,
        };
        let Some(noise) = noise else { return Ok(None) };
        if noise.dims() != [batch, patches] {
            return Err(refused("noise", &format!("shape [{batch}, {patches}]"), &format!("{:?}", noise.dims())));
        }
        let visible = (patches as f64 * (1.0 - self.masking.mask_ratio)) as usize;
        let noise: Vec<f32> = noise.into_data().iter::<f32>().collect();
        Ok(Some(NoiseOrder::new(&noise, patches, visible)))
    }
}

/// ViT's names with the decoder's, as the file has them.
fn names<'a>(names: Names, mut in_file: impl Iterator<Item = &'a str>) -> Names {
    let names = names.and(NAMES);
    let is_older =
        |name: &str| name.contains("decoder_encoder.layer.") || name.contains("decoder_layers.0.attention.attention.");
    match in_file.find(|name| is_older(name)) {
        Some(name) if name.contains("decoder_encoder.layer.") => names.and(SAVED_NAMES),
        Some(_) => names.and(OLDER_NAMES),
        None => names,
    }
}

impl Forward for VitMae {
    fn wants(&self) -> Vec<Wanted> {
        let noise = if self.decoder.is_some() { Wanted::needed } else { Wanted::optional };
        vec![Wanted::needed("pixel_values", "[batch, channels, height, width]"), noise("noise", "[batch, patches]")]
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let (seen, grid) = self.pictures.seen(inputs)?;
        let shape @ [batch, count] = [seen.dims()[0], grid[0] * grid[1]];
        let order = self.order(inputs, shape)?;
        let embedded = self.encoder.embedded(self.pictures.cut(seen.clone()), grid, None);
        let visible = match &order {
            Some(order) => order.visible(embedded),
            None => embedded,
        };
        let states = self.encoder.block_states(visible, grid);
        let last = self.encoder.normed(states[states.len() - 1].clone());
        let device = inputs.device();
        let outputs = match (&self.decoder, &order) {
            (Some(decoder), Some(order)) => {
                let logits = decoder.forward(last, order);
                let target = if self.masking.norm_pix_loss { PatchTarget::Normalised } else { PatchTarget::Raw };
                let hidden = Tensor::from_data(TensorData::new(order.hidden(), shape), device);
                let patches = patchify(seen, self.pictures.patch);
                let parts = MaskedImageLoss { target }.forward(logits.clone(), patches, hidden);
                Outputs::new().with("loss", parts.loss).with("logits", logits)
            }
            _ => Outputs::new().with("last_hidden_state", last),
        };
        let Some(order) = order else { return Ok(outputs.with_hidden_states(states)) };
        let floats = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [batch, count]), device);
        let mask = floats(order.hidden().iter().map(|&hidden| f32::from(hidden)).collect());
        let ranks = floats(order.ranks().iter().map(|&rank| rank as f32).collect());
        Ok(outputs.with("mask", mask).with("ids_restore", ranks).with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_checkpoints_have_older_names_in_the_decoder_too_and_saved_ones_others() {
        let named = |file: &'static str| names(Names::new([]), [file].into_iter());
        let published = named("decoder.decoder_layers.0.attention.attention.key.bias");
        let saved = named("decoder.decoder_encoder.layer.0.attention.attention.key.bias");
        for (own, expected) in [
            ("attention.query.bias", "attention.attention.query.bias"),
            ("attention.output.weight", "attention.output.dense.weight"),
            ("mlp.up.weight", "intermediate.dense.weight"),
            ("mlp_norm.bias", "layernorm_after.bias"),
        ] {
            let own = format!("decoder.layers.3.{own}");
            assert_eq!(published.locate(&own).name, format!("decoder.decoder_layers.3.{expected}"));
            assert_eq!(saved.locate(&own).name, format!("decoder.decoder_encoder.layer.3.{expected}"));
        }
        assert_eq!(named("").locate("decoder.layers.0.mlp.up.bias").name, "decoder.decoder_layers.0.mlp.fc1.bias");
        assert_eq!(saved.locate("decoder.head.bias").name, "decoder.decoder_pred.bias");
        assert_eq!(saved.locate("decoder.mask_token").name, "decoder.mask_token");
    }
}
