//! The Audio Spectrogram Transformer (AST), alone and with its classifier of sounds.
//!
//! Paper: Gong et al. 2021, <https://arxiv.org/abs/2104.01778>
//! Difference: none; with or without a classifier the pooled vector is given as `sound_embedding` too.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{SpectrogramTransformerConfig, SpectrogramTransformerEncoder};
use florin_nn::{LayerNorm, Linear};

use crate::ModelError;
use crate::classes::classes;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::problem::Problem;
use crate::system::{Checkpoint, Forward, Opened, Wanted};

const ARCHITECTURES: [&str; 2] = ["ASTModel", "ASTForAudioClassification"];

/// What transformers calls the parts.
const NAMES: [Rule; 14] = [
    rule("encoder.patch_embedding", "~embeddings.patch_embeddings.projection"),
    rule("encoder.class_token", "~embeddings.cls_token"),
    rule("encoder.distillation_token", "~embeddings.distillation_token"),
    rule("encoder.position_embeddings", "~embeddings.position_embeddings"),
    rule("encoder.layers.#.attention.query", "~layers.#.attention.q_proj"),
    rule("encoder.layers.#.attention.key", "~layers.#.attention.k_proj"),
    rule("encoder.layers.#.attention.value", "~layers.#.attention.v_proj"),
    rule("encoder.layers.#.attention.output", "~layers.#.attention.o_proj"),
    rule("encoder.layers.#.attention_norm", "~layers.#.layernorm_before"),
    rule("encoder.layers.#.mlp.up", "~layers.#.mlp.fc1"),
    rule("encoder.layers.#.mlp.down", "~layers.#.mlp.fc2"),
    rule("encoder.layers.#.mlp_norm", "~layers.#.layernorm_after"),
    rule("encoder.norm", "~layernorm"),
    rule("head.norm", "classifier.layernorm"),
];

/// What it called the blocks' parts before version 5; every published checkpoint does.
const OLDER_NAMES: [Rule; 8] = [
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.attention.query"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.attention.key"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.attention.value"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.output.dense"),
    rule("encoder.layers.#.attention_norm", "~encoder.layer.#.layernorm_before"),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.intermediate.dense"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.output.dense"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layer.#.layernorm_after"),
];

const HEAD_NAMES: [Rule; 1] = [rule("head.dense", "classifier.dense")];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct SpectrogramTransformer {
    /// The encoder.
    pub encoder: SpectrogramTransformerEncoder,
    /// The classifier, where there is one.
    pub head: Option<SpectrogramClassifier>,
    #[module(skip)]
    config: SpectrogramTransformerConfig,
    #[module(skip)]
    problem: Problem,
}

/// Scores from the pooled vector, normed once more.
#[derive(Module, Debug)]
pub struct SpectrogramClassifier {
    /// Norm of the pooled vector.
    pub norm: LayerNorm,
    /// `[dim, classes]`
    pub dense: Linear,
}

impl SpectrogramTransformer {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: SpectrogramTransformerConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let head = match checkpoint.architecture()? {
            "ASTModel" => None,
            "ASTForAudioClassification" => {
                let dim = config.hidden_size;
                let norm = LayerNorm::new(dim, config.layer_norm_eps, device);
                Some(SpectrogramClassifier { norm, dense: Linear::new(dim, classes(checkpoint)?, device) })
            }
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let weights = checkpoint.weights();
        let prefix = "audio_spectrogram_transformer.";
        let prefix = if weights.has_prefix(prefix) { prefix } else { "" };
        let names = Names::new(NAMES).and(HEAD_NAMES).with_prefix(prefix);
        let is_older = weights.has_prefix(&format!("{prefix}encoder.layer."));
        let names = if is_older { names.and(OLDER_NAMES) } else { names };
        checkpoint.fill(Self { encoder, head, config, problem: Problem::of(checkpoint)? }, names)
    }
}

impl SpectrogramClassifier {
    /// # Shapes
    ///
    /// - pooled: `[batch, dim]`
    /// - output: `[batch, classes]`
    pub fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        self.dense.forward(self.norm.forward(pooled))
    }
}

impl Forward for SpectrogramTransformer {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![Wanted::needed("input_values", "[batch, frames, bands]")];
        if self.head.is_some() {
            wants.push(Wanted::optional("labels", "[batch] or [batch, classes]"));
        }
        wants
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let log_mel = inputs.tensor::<3>("input_values", "[batch, frames, bands]")?;
        let [_, frames, bands] = log_mel.dims();
        let expected = [self.config.max_length, self.config.num_mel_bins];
        if [frames, bands] != expected {
            let expected = format!("{} frames of {} bands, the sound padded or cut to them", expected[0], expected[1]);
            return Err(refused("input_values", &expected, &format!("{frames} frames of {bands} bands")));
        }
        let states = self.encoder.hidden_states(log_mel);
        let last = self.encoder.norm.forward(states[states.len() - 1].clone());
        let pooled = self.encoder.pooled(last.clone());
        let outputs = match &self.head {
            None => Outputs::new().with("last_hidden_state", last).with("pooler_output", pooled.clone()),
            Some(head) => {
                let logits = head.forward(pooled.clone());
                let loss = self.problem.loss(inputs, logits.clone())?;
                Outputs::new().with_maybe("loss", loss).with("logits", logits)
            }
        };
        Ok(outputs.with("sound_embedding", pooled).with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_checkpoints_have_older_names() {
        let names = Names::new(NAMES).and(HEAD_NAMES).with_prefix("audio_spectrogram_transformer.").and(OLDER_NAMES);
        let layer = "audio_spectrogram_transformer.encoder.layer.3";
        for (own, expected) in [
            ("attention.query.bias", "attention.attention.query.bias"),
            ("attention.output.weight", "attention.output.dense.weight"),
            ("mlp.up.weight", "intermediate.dense.weight"),
            ("mlp.down.weight", "output.dense.weight"),
            ("mlp_norm.bias", "layernorm_after.bias"),
        ] {
            assert_eq!(names.locate(&format!("encoder.layers.3.{own}")).name, format!("{layer}.{expected}"));
        }
        assert_eq!(names.locate("head.dense.bias").name, "classifier.dense.bias");
        assert_eq!(names.locate("encoder.norm.bias").name, "audio_spectrogram_transformer.layernorm.bias");
    }
}
