//! PatchTST: the encoder, and heads that restore hidden patches, classify, regress and forecast.
//!
//! Paper: Nie et al. 2022, <https://arxiv.org/abs/2211.14730>
//! Difference: what chooses the hidden patches is an input (`noise`, or the `mask` itself), never drawn inside. Heads that give a
//! distribution (`loss: nll`) are left out, and so is one forecasting head a channel, which fails in transformers itself.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use florin_encoders::{PatchTstConfig, PatchTstEncoder, PatchTstInput, PatchTstMaskingConfig, PatchTstOutput};
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::loss::{class_loss, square_loss};
use crate::marks::maybe_marks;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};

const ARCHITECTURES: [&str; 5] = [
    "PatchTSTModel",
    "PatchTSTForPretraining",
    "PatchTSTForClassification",
    "PatchTSTForRegression",
    "PatchTSTForPrediction",
];

/// What transformers calls the parts of the encoder.
const NAMES: [Rule; 11] = [
    rule("encoder.embeddings", "~encoder.embedder.input_embedding"),
    rule("encoder.class_token", "~encoder.positional_encoder.cls_token"),
    rule("encoder.positions", "~encoder.positional_encoder.position_enc"),
    rule("encoder.layers", "~encoder.layers"),
    rule("encoder.layers.#.attention.query", "~encoder.layers.#.self_attn.q_proj"),
    rule("encoder.layers.#.attention.key", "~encoder.layers.#.self_attn.k_proj"),
    rule("encoder.layers.#.attention.value", "~encoder.layers.#.self_attn.v_proj"),
    rule("encoder.layers.#.attention.output", "~encoder.layers.#.self_attn.out_proj"),
    rule("encoder.layers.#.mlp.up", "~encoder.layers.#.ff.0"),
    rule("encoder.layers.#.mlp.down", "~encoder.layers.#.ff.3"),
    rule("head", "head.linear"),
];

const LAYER_NORM_NAMES: [Rule; 3] = [
    rule("encoder.layers.#.attention_norm", "~encoder.layers.#.norm_sublayer1"),
    rule("encoder.layers.#.channel_norm", "~encoder.layers.#.norm_sublayer2"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layers.#.norm_sublayer3"),
];

const BATCH_NORM_NAMES: [Rule; 3] = [
    rule("encoder.layers.#.attention_norm", "~encoder.layers.#.norm_sublayer1.batchnorm"),
    rule("encoder.layers.#.channel_norm", "~encoder.layers.#.norm_sublayer2.batchnorm"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layers.#.norm_sublayer3.batchnorm"),
];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct PatchTst {
    /// The encoder.
    pub encoder: PatchTstEncoder,
    /// The head, where there is one.
    pub head: Option<PatchTstHead>,
    #[module(skip)]
    config: PatchTstConfig,
    #[module(skip)]
    head_config: HeadConfig,
    #[module(skip)]
    masking: Option<PatchTstMaskingConfig>,
}

/// A head.
#[derive(Module, Debug)]
pub enum PatchTstHead {
    /// The values of each patch, `[dim, patch_length]`.
    Pretraining(Linear),
    /// Scores of classes, `[channels · dim, num_targets]`.
    Classification(Linear),
    /// Values, `[channels · dim, num_targets]`.
    Regression(Linear),
    /// The steps to come of each channel, `[dim or patches · dim, prediction_length]`.
    Prediction(Linear),
}

/// What a `config.json` says beside the encoder.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct HeadConfig {
    loss: Option<String>,
    pooling_type: Option<String>,
    prediction_length: usize,
    num_targets: usize,
    output_range: Option<[f64; 2]>,
    share_projection: bool,
    do_mask_input: Option<bool>,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            loss: Some("mse".to_owned()),
            pooling_type: Some("mean".to_owned()),
            prediction_length: 24,
            num_targets: 1,
            output_range: None,
            share_projection: true,
            do_mask_input: None,
        }
    }
}

impl HeadConfig {
    fn validate(&self, architecture: &str, checkpoint: &Checkpoint) -> Result<(), ModelError> {
        let given = architecture == "PatchTSTForRegression" || architecture == "PatchTSTForPrediction";
        if given && self.loss.as_deref() != Some("mse") {
            return Err(checkpoint.refused(format!("loss must be `mse`, found {:?}", self.loss)));
        }
        let pooled = self.pooling_type.as_deref();
        if !matches!(pooled, None | Some("mean" | "max")) {
            return Err(checkpoint.refused(format!("pooling_type must be mean, max or nothing, found {pooled:?}")));
        }
        if architecture == "PatchTSTForPrediction" && !self.share_projection {
            return Err(checkpoint.refused("share_projection must be true".to_owned()));
        }
        let sizes = [("prediction_length", self.prediction_length), ("num_targets", self.num_targets)];
        match sizes.into_iter().find(|(_, size)| !(1..=65_536).contains(size)) {
            Some((name, size)) => Err(checkpoint.refused(format!("{name} must lie between 1 and 65536, found {size}"))),
            None => Ok(()),
        }
    }
}

impl PatchTst {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: PatchTstConfig = checkpoint.config()?;
        let head_config: HeadConfig = checkpoint.config()?;
        let architecture = checkpoint.architecture()?;
        config.validate()?;
        head_config.validate(architecture, checkpoint)?;
        let head = head(&config, &head_config, device, checkpoint)?;
        let masks = match architecture {
            "PatchTSTForPretraining" => true,
            "PatchTSTModel" => head_config.do_mask_input == Some(true),
            _ => false,
        };
        let masking: Option<PatchTstMaskingConfig> = if masks { Some(checkpoint.config()?) } else { None };
        if let Some(masking) = &masking {
            masking.validate(config.patches(), config.num_input_channels)?;
        }
        let encoder = config.init(device)?;
        let prefix = if checkpoint.weights().has_prefix("model.") { "model." } else { "" };
        let norms = if config.norm_type == "batchnorm" { BATCH_NORM_NAMES } else { LAYER_NORM_NAMES };
        let names = Names::new(NAMES).and(norms).with_prefix(prefix).ignoring(is_unused);
        let names = match head {
            Some(PatchTstHead::Regression(_) | PatchTstHead::Prediction(_)) => {
                names.and([rule("head", "head.projection")])
            }
            _ => names,
        };
        let names = match config.share_embedding {
            true => names.and([rule("encoder.embeddings.0", "~encoder.embedder.input_embedding")]),
            false => names,
        };
        checkpoint.fill(Self { encoder, head, config, head_config, masking }, names)
    }

    /// Which patches are hidden: those of the input `mask`, or else those that `noise` chooses, or the last.
    fn hidden(&self, inputs: &Inputs, batch: usize) -> Result<Option<Tensor<3, Bool>>, ModelError> {
        let Some(masking) = &self.masking else { return Ok(None) };
        let (channels, patches) = (self.config.num_input_channels, self.config.patches());
        let shape = [batch, channels, patches];
        if let Some(mask) = maybe_marks(inputs, "mask", shape)? {
            return Ok(Some(mask));
        }
        if let Some(count) = masking.forecast() {
            return Ok(Some(masking.at_the_end(count, shape, inputs.device())));
        }
        if masking.mask_type != "random" {
            return Err(refused("mask", &format!("yes and no of shape {shape:?}"), "none"));
        }
        let shape = [batch, masking.noise_channels(channels), patches];
        let noise = inputs.tensor::<3>("noise", "[batch, channels, patches], or `mask` of the same")?;
        if noise.dims() != shape {
            return Err(refused("noise", &format!("shape {shape:?}"), &format!("shape {:?}", noise.dims())));
        }
        Ok(Some(masking.at_random(noise, channels)))
    }

    /// One vector a channel, as the configuration pools them; without pooling all tokens of the channel one behind the other.
    fn pooled(&self, last: Tensor<4>) -> Tensor<3> {
        let [batch, channels, tokens, dim] = last.dims();
        let pooling = self.head_config.pooling_type.as_deref();
        match pooling {
            _ if self.config.use_cls_token => last.narrow(2, 0, 1).squeeze_dim(2),
            Some("mean") => last.mean_dim(2).squeeze_dim(2),
            Some("max") => last.max_dim(2).squeeze_dim(2),
            _ => last.reshape([batch, channels, tokens * dim]),
        }
    }

    fn head_outputs(
        &self,
        inputs: &Inputs,
        out: &PatchTstOutput,
        hidden: Option<Tensor<3, Bool>>,
    ) -> Result<Outputs, ModelError> {
        let last = out.last.clone();
        let flat = |pooled: Tensor<3>| -> Tensor<2> {
            let [batch, channels, dim] = pooled.dims();
            pooled.reshape([batch, channels * dim])
        };
        let outputs = Outputs::new();
        match &self.head {
            None => {
                let mask = hidden.map(|hidden| hidden.float());
                let outputs = outputs.with("last_hidden_state", last).with_maybe("mask", mask);
                let outputs = outputs.with("loc", out.location.clone()).with("scale", out.scale.clone());
                Ok(outputs.with("patch_input", out.patches.clone()))
            }
            Some(PatchTstHead::Pretraining(head)) => {
                let restored = head.forward(without_class_token(last, self.config.use_cls_token));
                let loss = hidden.map(|hidden| restored_loss(restored.clone() - out.patches.clone(), hidden));
                Ok(outputs.with_maybe("loss", loss).with("prediction_output", restored))
            }
            Some(PatchTstHead::Classification(head)) => {
                let logits = head.forward(flat(self.pooled(last)));
                let loss = class_loss::<1>(inputs, "target_values", logits.clone())?;
                Ok(outputs.with_maybe("loss", loss).with("prediction_logits", logits))
            }
            Some(PatchTstHead::Regression(head)) => {
                let found = self.within_range(head.forward(flat(self.pooled(last))));
                let loss = square_loss(inputs, "target_values", found.clone())?;
                Ok(outputs.with_maybe("loss", loss).with("regression_outputs", found))
            }
            Some(PatchTstHead::Prediction(head)) => {
                let scaled = head.forward(self.pooled(last)).swap_dims(1, 2); // [batch, steps to come, channels]
                let found = scaled * out.scale.clone() + out.location.clone();
                let loss = square_loss(inputs, "future_values", found.clone())?;
                let outputs = outputs.with_maybe("loss", loss).with("prediction_outputs", found);
                Ok(outputs.with("loc", out.location.clone()).with("scale", out.scale.clone()))
            }
        }
    }

    fn within_range(&self, x: Tensor<2>) -> Tensor<2> {
        match self.head_config.output_range {
            Some([low, high]) => sigmoid(x) * (high - low) + low,
            None => x,
        }
    }
}

impl Forward for PatchTst {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![
            Wanted::needed("past_values", "[batch, context_length, channels]"),
            Wanted::optional("past_observed_mask", "[batch, context_length, channels]"),
        ];
        match &self.masking {
            Some(masking) if masking.forecast().is_some() => {
                wants.push(Wanted::optional("mask", "[batch, channels, patches]"));
            }
            Some(_) => {
                wants.push(Wanted::optional("mask", "[batch, channels, patches]"));
                wants.push(Wanted::optional("noise", "[batch, channels, patches]"));
            }
            None => {}
        }
        match &self.head {
            None | Some(PatchTstHead::Pretraining(_)) => {}
            Some(PatchTstHead::Classification(_)) => wants.push(Wanted::optional("target_values", "[batch]")),
            Some(PatchTstHead::Regression(_)) => wants.push(Wanted::optional("target_values", "[batch, targets]")),
            Some(PatchTstHead::Prediction(_)) => {
                wants.push(Wanted::optional("future_values", "[batch, prediction_length, channels]"));
            }
        }
        wants
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let values = inputs.tensor::<3>("past_values", "[batch, context_length, channels]")?;
        let [batch, steps, channels] = values.dims();
        let expected = [self.config.context_length, self.config.num_input_channels];
        if [steps, channels] != expected {
            let [steps, channels] = expected;
            let found = format!("shape {:?}", values.dims());
            return Err(refused("past_values", &format!("shape [batch, {steps}, {channels}]"), &found));
        }
        let observed = maybe_marks(inputs, "past_observed_mask", [batch, steps, channels])?;
        let hidden = self.hidden(inputs, batch)?;
        let value = self.masking.as_ref().map_or(0.0, |masking| masking.mask_value);
        let hidden_with = hidden.clone().map(|hidden| (hidden, value));
        let out = self.encoder.forward(PatchTstInput { values, observed, hidden: hidden_with });
        Ok(self.head_outputs(inputs, &out, hidden)?.with_hidden_states(out.states))
    }
}

fn head(
    config: &PatchTstConfig,
    head: &HeadConfig,
    device: &Device,
    checkpoint: &Checkpoint,
) -> Result<Option<PatchTstHead>, ModelError> {
    let (dim, flat) = (config.d_model, config.num_input_channels * config.d_model);
    let is_pooled = config.use_cls_token || head.pooling_type.is_some();
    let architecture = checkpoint.architecture()?;
    if !is_pooled && ["PatchTSTForClassification", "PatchTSTForRegression"].contains(&architecture) {
        return Err(checkpoint.refused("pooling_type must be mean or max, found nothing".to_owned()));
    }
    Ok(match architecture {
        "PatchTSTModel" => None,
        "PatchTSTForPretraining" => Some(PatchTstHead::Pretraining(Linear::new(dim, config.patch_length, device))),
        "PatchTSTForClassification" => Some(PatchTstHead::Classification(Linear::new(flat, head.num_targets, device))),
        "PatchTSTForRegression" => Some(PatchTstHead::Regression(Linear::new(flat, head.num_targets, device))),
        "PatchTSTForPrediction" => {
            let width = if is_pooled { dim } else { dim * config.patches() };
            Some(PatchTstHead::Prediction(Linear::new(width, head.prediction_length, device)))
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    })
}

fn without_class_token(x: Tensor<4>, has_class_token: bool) -> Tensor<4> {
    let [_, _, tokens, _] = x.dims();
    if has_class_token { x.narrow(2, 1, tokens - 1) } else { x }
}

/// The mean squared error over the values of hidden patches.
fn restored_loss(error: Tensor<4>, hidden: Tensor<3, Bool>) -> Tensor<1> {
    let hidden = hidden.float().cast(error.dtype());
    let each: Tensor<3> = error.square().mean_dim(3).squeeze_dim(3);
    (each * hidden.clone()).sum() / (hidden.sum() + 1e-10)
}

/// How many batches a batch norm has seen.
fn is_unused(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(masking: Option<PatchTstMaskingConfig>, device: &Device) -> PatchTst {
        let sizes = PatchTstConfig { context_length: 6, patch_length: 2, patch_stride: 2, ..Default::default() };
        let config = PatchTstConfig { d_model: 8, ffn_dim: 8, num_attention_heads: 2, num_hidden_layers: 1, ..sizes };
        let encoder = config.init(device).unwrap();
        PatchTst { encoder, head: None, config, head_config: HeadConfig::default(), masking }
    }

    fn series(device: &Device, shape: [usize; 3], value: f32) -> Inputs {
        Inputs::new(device).floats("past_values", &shape, vec![value; shape.iter().product::<usize>()])
    }

    #[test]
    fn series_that_do_not_fit_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let error = |inputs: Inputs| model(None, &device).forward(&inputs).unwrap_err().to_string();
        let long = error(series(&device, [2, 7, 1], 0.0));
        assert_eq!(long, "input past_values: expected shape [batch, 6, 1], found shape [2, 7, 1]");
        let marks = series(&device, [1, 6, 1], 0.0).whole("past_observed_mask", &[1, 5, 1], vec![1; 5]);
        assert!(error(marks).contains("past_observed_mask: expected yes and no of shape [1, 6, 1]"));
        let masked = model(Some(PatchTstMaskingConfig::default()), &device);
        let error = masked.forward(&series(&device, [1, 6, 1], 0.0)).unwrap_err().to_string();
        assert!(error.contains("input noise: expected [batch, channels, patches], or `mask` of the same"), "{error}");
        let noisy = series(&device, [1, 6, 1], 0.0).floats("noise", &[1, 1, 2], vec![0.0; 2]);
        assert!(masked.forward(&noisy).unwrap_err().to_string().contains("expected shape [1, 1, 3]"));
    }

    #[test]
    fn nothing_observed_gives_numbers_all_the_same() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let outputs = model(None, &device).forward(&series(&device, [1, 6, 1], f32::NAN)).unwrap();
        for output in outputs {
            let values = output.values.into_data().try_to_vec::<f32>().expect("f32");
            assert!(values.iter().all(|value| value.is_finite()), "{}: {values:?}", output.name);
        }
    }
}
