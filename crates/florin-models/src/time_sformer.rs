//! TimeSformer: the encoder and a classifier of clips.
//!
//! Paper: Bertasius et al. 2021, <https://arxiv.org/abs/2102.05095>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{TimeSformerConfig, TimeSformerEncoder, TimeSformerInput};
use florin_nn::Linear;

use crate::ModelError;
use crate::classes::classes;
use crate::clip_embedder;
use crate::clips::clips;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};

const ARCHITECTURES: [&str; 2] = ["TimesformerModel", "TimesformerForVideoClassification"];

/// What transformers calls the parts.
const NAMES: [Rule; 20] = [
    rule("encoder.patch_embedding", "~embeddings.patch_embeddings.projection"),
    rule("encoder.class_token", "~embeddings.cls_token"),
    rule("encoder.positions", "~embeddings.position_embeddings"),
    rule("encoder.times", "~embeddings.time_embeddings"),
    rule("encoder.norm", "~layernorm"),
    rule("encoder.layers.#.spatial.attention.query", "~encoder.layer.#.attention.attention.qkv").rows(0, 3),
    rule("encoder.layers.#.spatial.attention.key", "~encoder.layer.#.attention.attention.qkv").rows(1, 3),
    rule("encoder.layers.#.spatial.attention.value", "~encoder.layer.#.attention.attention.qkv").rows(2, 3),
    rule("encoder.layers.#.spatial.attention.output", "~encoder.layer.#.attention.output.dense"),
    rule("encoder.layers.#.spatial.attention_norm", "~encoder.layer.#.layernorm_before"),
    rule("encoder.layers.#.spatial.mlp.up", "~encoder.layer.#.intermediate.dense"),
    rule("encoder.layers.#.spatial.mlp.down", "~encoder.layer.#.output.dense"),
    rule("encoder.layers.#.spatial.mlp_norm", "~encoder.layer.#.layernorm_after"),
    rule("encoder.layers.#.temporal.norm", "~encoder.layer.#.temporal_layernorm"),
    rule("encoder.layers.#.temporal.dense", "~encoder.layer.#.temporal_dense"),
    rule("encoder.layers.#.temporal.attention.query", "~encoder.layer.#.temporal_attention.attention.qkv").rows(0, 3),
    rule("encoder.layers.#.temporal.attention.key", "~encoder.layer.#.temporal_attention.attention.qkv").rows(1, 3),
    rule("encoder.layers.#.temporal.attention.value", "~encoder.layer.#.temporal_attention.attention.qkv").rows(2, 3),
    rule("encoder.layers.#.temporal.attention.output", "~encoder.layer.#.temporal_attention.output.dense"),
    rule("head", "classifier"),
];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct TimeSformer {
    /// The encoder.
    pub encoder: TimeSformerEncoder,
    /// Scores of classes from the class token, where the architecture has them.
    pub head: Option<Linear>,
    #[module(skip)]
    config: TimeSformerConfig,
}

impl TimeSformer {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: TimeSformerConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let head = match checkpoint.architecture()? {
            "TimesformerModel" => None,
            "TimesformerForVideoClassification" => Some(Linear::new(config.hidden_size, classes(checkpoint)?, device)),
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let prefix = if checkpoint.weights().has_prefix("timesformer.") { "timesformer." } else { "" };
        checkpoint.fill(Self { encoder, head, config }, Names::new(NAMES).with_prefix(prefix))
    }
}

impl Forward for TimeSformer {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![Wanted::needed("pixel_values", "[batch, frames, channels, height, width]")];
        if self.head.is_some() {
            wants.push(Wanted::optional("labels", "[batch]"));
        }
        wants
    }

    fn frames(&self) -> Option<usize> {
        Some(self.config.num_frames)
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let pixels = clips(inputs, self.config.num_channels)?;
        let [_, frames, _, height, width] = pixels.dims();
        self.config.check_clip([frames, height, width]).map_err(|expected| {
            refused("pixel_values", &expected, &format!("{frames} frames of {height} x {width}"))
        })?;
        let states = self.encoder.forward(TimeSformerInput { pixels });
        let last = self.encoder.norm.forward(states[states.len() - 1].clone());
        let outputs = match &self.head {
            // As the classifier reads it.
            None => {
                let first = last.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
                Outputs::new().with("last_hidden_state", last).with(clip_embedder::OUTPUT, first)
            }
            Some(head) => {
                let logits = head.forward(last.narrow(1, 0, 1).squeeze_dim::<2>(1));
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
        };
        Ok(outputs.with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_that_do_not_fit_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let sizes =
            TimeSformerConfig { image_size: 4, patch_size: 2, num_channels: 1, num_frames: 2, ..Default::default() };
        let sizes = TimeSformerConfig { hidden_size: 8, num_attention_heads: 2, intermediate_size: 8, ..sizes };
        let config = TimeSformerConfig { num_hidden_layers: 1, ..sizes };
        let model = TimeSformer { encoder: config.init(&device).unwrap(), head: None, config };
        let error = |shape: [usize; 5]| {
            let values = vec![0.0; shape.iter().product::<usize>()];
            let inputs = Inputs::new(&device).floats("pixel_values", &shape, values);
            model.forward(&inputs).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(error([1, 2, 1, 4, 4]), "");
        assert!(error([1, 2, 2, 4, 4]).contains("expected 1 channels in the third dimension, found 2"));
        let expected = "expected height and width that 2 divides, found 2 frames of 5 x 4";
        assert!(error([1, 2, 1, 5, 4]).contains(expected));
        assert!(error([1, 3, 1, 4, 2]).contains("found 3 frames of 4 x 2"));
    }
}
