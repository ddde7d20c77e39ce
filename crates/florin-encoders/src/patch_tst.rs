//! PatchTST: a series cut into patches, each channel read by the same transformer.
//!
//! Paper: Nie et al. 2022, <https://arxiv.org/abs/2211.14730>
//! Difference: channels may attend to each other, as in transformers' version; a missing value is zero whatever stood in its
//! place, and a NaN is missing whether or not it is marked so.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Attention, AttentionConfig, BatchNorm, Encoded, Encoder, LayerNorm, Linear, Mask, Mlp, Modality, Norm, NormOrder,
    Tokens, normal, zeros,
};
use serde::{Deserialize, Serialize};

use crate::patch_tst_scaling::{Scaled, Scaling, ScalingName};
use crate::sine_positions::sine_positions;
use crate::{ConfigError, activation, check_heads, check_size, no_such};

/// Sizes and choices, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PatchTstConfig {
    /// Channels of the series.
    pub num_input_channels: usize,
    /// Steps of the series; more than `patch_length`.
    pub context_length: usize,
    /// Steps of a patch.
    pub patch_length: usize,
    /// Steps from a patch to the next.
    pub patch_stride: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Width of the vectors.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub num_attention_heads: usize,
    /// Whether all channels share the map from patch to vector.
    pub share_embedding: bool,
    /// Whether channels attend to each other.
    pub channel_attention: bool,
    /// Width inside the perceptrons.
    pub ffn_dim: usize,
    /// `batchnorm` or `layernorm`.
    pub norm_type: String,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Whether the perceptrons have biases.
    pub bias: bool,
    /// Activation inside the perceptrons.
    pub activation_function: String,
    /// Whether norms stand before the branches.
    pub pre_norm: bool,
    /// `random` for learned positions, `sincos` for fixed ones; either way the file has them.
    pub positional_encoding_type: String,
    /// Whether a token of its own stands before the patches.
    pub use_cls_token: bool,
    /// How channels are scaled.
    pub scaling: Option<ScalingName>,
}

/// A batch of series.
#[derive(Clone, Debug)]
pub struct PatchTstInput {
    /// `[batch, context_length, channels]`
    pub values: Tensor<3>,
    /// `[batch, context_length, channels]`, true where there is a value; everywhere unless given.
    pub observed: Option<Tensor<3, Bool>>,
    /// `[batch, channels, patches]`, true where a patch is hidden, with what stands there instead.
    pub hidden: Option<(Tensor<3, Bool>, f64)>,
}

/// What becomes of a series.
#[derive(Clone, Debug)]
pub struct PatchTstOutput {
    /// What each block reads, `[batch, channels, tokens, dim]`.
    pub states: Vec<Tensor<4>>,
    /// What the last block gives.
    pub last: Tensor<4>,
    /// The scaled patches, none hidden, `[batch, channels, patches, patch_length]`.
    pub patches: Tensor<4>,
    /// `[batch, 1, channels]`
    pub location: Tensor<3>,
    /// `[batch, 1, channels]`
    pub scale: Tensor<3>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct PatchTstEncoder {
    /// Patch to vector: one for all channels, or one each.
    pub embeddings: Vec<Linear>,
    /// `[1, 1, 1, dim]`
    pub class_token: Option<Param<Tensor<4>>>,
    /// `[class token + patches, dim]`
    pub positions: Param<Tensor<2>>,
    /// The blocks, lowest first.
    pub layers: Vec<PatchTstBlock>,
    #[module(skip)]
    config: PatchTstConfig,
    #[module(skip)]
    scaling: Scaling,
}

/// A block: attention over time, over channels where that is wanted, and a perceptron.
#[derive(Module, Debug)]
pub struct PatchTstBlock {
    /// Attention; the same over time and over channels.
    pub attention: Attention,
    /// Norm of the attention over time.
    pub attention_norm: Norm,
    /// Norm of the attention over channels.
    pub channel_norm: Option<Norm>,
    /// The perceptron.
    pub mlp: Mlp,
    /// Norm of the perceptron's branch.
    pub mlp_norm: Norm,
    #[module(skip)]
    order: NormOrder,
}

impl Default for PatchTstConfig {
    fn default() -> Self {
        Self {
            num_input_channels: 1,
            context_length: 32,
            patch_length: 1,
            patch_stride: 1,
            num_hidden_layers: 3,
            d_model: 128,
            num_attention_heads: 4,
            share_embedding: true,
            channel_attention: false,
            ffn_dim: 512,
            norm_type: "batchnorm".to_owned(),
            norm_eps: 1e-5,
            bias: true,
            activation_function: "gelu".to_owned(),
            pre_norm: true,
            positional_encoding_type: "sincos".to_owned(),
            use_cls_token: false,
            scaling: Some(ScalingName::Named("std".to_owned())),
        }
    }
}

impl PatchTstConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("patchtst", "num_input_channels", self.num_input_channels, 1, 65_536)?;
        check_size("patchtst", "patch_length", self.patch_length, 1, 65_535)?;
        check_size("patchtst", "context_length", self.context_length, self.patch_length + 1, 65_536)?;
        check_size("patchtst", "patch_stride", self.patch_stride, 1, 65_536)?;
        check_size("patchtst", "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_size("patchtst", "d_model", self.d_model, 1, 16_384)?;
        check_size("patchtst", "ffn_dim", self.ffn_dim, 1, 131_072)?;
        check_heads("patchtst", self.num_attention_heads, self.d_model)?;
        if !["batchnorm", "layernorm"].contains(&self.norm_type.as_str()) {
            return Err(no_such("patchtst", "norm_type", "batchnorm or layernorm", &self.norm_type));
        }
        if !["random", "sincos"].contains(&self.positional_encoding_type.as_str()) {
            let found = &self.positional_encoding_type;
            return Err(no_such("patchtst", "positional_encoding_type", "random or sincos", found));
        }
        activation("patchtst", &self.activation_function)?;
        Scaling::of(self.scaling.as_ref()).map(|_| ())
    }

    /// Patches of a series. The first steps that fill no patch are left out.
    pub fn patches(&self) -> usize {
        (self.context_length - self.patch_length) / self.patch_stride + 1
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<PatchTstEncoder, ConfigError> {
        self.validate()?;
        let tables = if self.share_embedding { 1 } else { self.num_input_channels };
        let layers: Result<_, _> = (0..self.num_hidden_layers).map(|_| self.block(device)).collect();
        Ok(PatchTstEncoder {
            embeddings: (0..tables).map(|_| Linear::new(self.patch_length, self.d_model, device)).collect(),
            class_token: self.use_cls_token.then(|| zeros([1, 1, 1, self.d_model], device)),
            positions: self.positions(device)?,
            layers: layers?,
            config: self.clone(),
            scaling: Scaling::of(self.scaling.as_ref())?,
        })
    }

    fn positions(&self, device: &Device) -> Result<Param<Tensor<2>>, ConfigError> {
        let shape = [self.patches() + usize::from(self.use_cls_token), self.d_model];
        if self.positional_encoding_type == "random" {
            return Ok(normal(shape, 1.0, device));
        }
        let table = sine_positions("patchtst", shape[0], shape[1])?;
        let mean = table.iter().sum::<f64>() / table.len() as f64;
        let square = table.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (square / (table.len() as f64 - 1.0).max(1.0)).sqrt();
        let values: Vec<f32> = table.iter().map(|value| ((value - mean) / (deviation * 10.0)) as f32).collect();
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)).set_require_grad(false))
    }

    fn block(&self, device: &Device) -> Result<PatchTstBlock, ConfigError> {
        let norm = || match self.norm_type.as_str() {
            "batchnorm" => Norm::Batch(BatchNorm::new(self.d_model, self.norm_eps, device)),
            _ => Norm::Layer(LayerNorm::new(self.d_model, self.norm_eps, device)),
        };
        let mlp = if self.bias { Mlp::new } else { Mlp::without_biases };
        Ok(PatchTstBlock {
            attention: AttentionConfig::new(self.d_model, self.num_attention_heads).init(device),
            attention_norm: norm(),
            channel_norm: self.channel_attention.then(norm),
            mlp: mlp(self.d_model, self.ffn_dim, activation("patchtst", &self.activation_function)?, device),
            mlp_norm: norm(),
            order: if self.pre_norm { NormOrder::Pre } else { NormOrder::Post },
        })
    }
}

impl PatchTstEncoder {
    /// # Shapes
    ///
    /// - values: `[batch, context_length, channels]`
    /// - output: `[batch, channels, class token + patches, dim]`
    pub fn forward(&self, input: PatchTstInput) -> PatchTstOutput {
        let missing = match input.observed {
            Some(observed) => observed.bool_not().bool_or(input.values.clone().is_nan()),
            None => input.values.clone().is_nan(),
        };
        let values = input.values.mask_fill(missing.clone(), 0.0);
        let observed = missing.bool_not().float().cast(values.dtype());
        let Scaled { values, location, scale } = self.scaling.scale(values, observed);
        let patches = self.patches(values);
        let seen = match input.hidden {
            Some((hidden, value)) => {
                patches.clone().mask_fill(hidden.unsqueeze_dim::<4>(3).expand(patches.dims()), value)
            }
            None => patches.clone(),
        };
        let mut x = self.placed(self.embedded(seen));
        let mut states = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x);
        }
        PatchTstOutput { states, last: x, patches, location, scale }
    }

    /// `[batch, steps, channels]` to `[batch, channels, patches, patch_length]`.
    fn patches(&self, values: Tensor<3>) -> Tensor<4> {
        let PatchTstConfig { context_length, patch_length, patch_stride, .. } = self.config;
        let [batch, _, channels] = values.dims();
        let patches = self.config.patches();
        let start = context_length - patch_length - patch_stride * (patches - 1);
        let steps = |patch| (0..patch_length).map(move |step| (start + patch * patch_stride + step) as i32);
        let steps: Vec<i32> = (0..patches).flat_map(steps).collect();
        let steps = Tensor::<1, Int>::from_data(TensorData::new(steps, [patches * patch_length]), &values.device());
        values.select(1, steps).reshape([batch, patches, patch_length, channels]).permute([0, 3, 1, 2])
    }

    fn embedded(&self, patches: Tensor<4>) -> Tensor<4> {
        match self.embeddings.as_slice() {
            [shared] => shared.forward(patches),
            each => {
                let channel = |(index, own): (usize, &Linear)| own.forward(patches.clone().narrow(1, index, 1));
                Tensor::cat(each.iter().enumerate().map(channel).collect(), 1)
            }
        }
    }

    /// With positions, behind the class token where there is one.
    fn placed(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, patches, dim] = x.dims();
        let Some(class_token) = &self.class_token else { return x + self.positions.val().unsqueeze() };
        let x = x + self.positions.val().narrow(0, 1, patches).unsqueeze();
        let first = class_token.val() + self.positions.val().narrow(0, 0, 1).unsqueeze();
        Tensor::cat(vec![first.expand([batch, channels, 1, dim]), x], 2)
    }
}

impl PatchTstBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, channels, tokens, dim]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, tokens, dim] = x.dims();
        let attend = |x: Tensor<3>| self.attention.forward(x.clone(), x, None, None);
        let mut x = self.branch(x.reshape([batch * channels, tokens, dim]), &self.attention_norm, attend);
        if let Some(norm) = &self.channel_norm {
            let across = x.reshape([batch, channels, tokens, dim]).swap_dims(1, 2);
            let across = self.branch(across.reshape([batch * tokens, channels, dim]), norm, attend);
            x = across.reshape([batch, tokens, channels, dim]).swap_dims(1, 2).reshape([batch * channels, tokens, dim]);
        }
        self.branch(x, &self.mlp_norm, |x| self.mlp.forward(x)).reshape([batch, channels, tokens, dim])
    }

    fn branch(&self, x: Tensor<3>, norm: &Norm, change: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        match self.order {
            NormOrder::Pre => x.clone() + change(norm.forward(x)),
            NormOrder::Post => norm.forward(x.clone() + change(x)),
        }
    }
}

impl Encoder for PatchTstEncoder {
    type Input = PatchTstInput;

    fn modality(&self) -> Modality {
        Modality::Series
    }

    fn dim(&self) -> usize {
        self.config.d_model
    }

    /// The tokens of all channels, one channel behind the other; pooled is the mean over channels of their class token, or of all
    /// tokens where there is none.
    fn encode(&self, input: PatchTstInput) -> Encoded {
        let last = self.forward(input).last;
        let [batch, channels, tokens, dim] = last.dims();
        let counted = if self.class_token.is_some() { 1 } else { tokens };
        let pooled = last.clone().narrow(2, 0, counted).reshape([batch, channels * counted, dim]).mean_dim(1);
        let mask = Mask::all_kept(batch, channels * tokens, &last.device());
        let tokens = Tokens::new(last.reshape([batch, channels * tokens, dim]), mask);
        Encoded { modality: Modality::Series, pooled: pooled.squeeze_dim(1), tokens }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn config() -> PatchTstConfig {
        let sizes = PatchTstConfig { context_length: 9, patch_length: 3, patch_stride: 2, ..Default::default() };
        PatchTstConfig { num_input_channels: 2, d_model: 8, ffn_dim: 12, num_attention_heads: 2, ..sizes }
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("f32")
    }

    #[test]
    fn patches_end_with_the_series_and_leave_out_the_first_steps_that_fill_none() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let config = PatchTstConfig { context_length: 10, scaling: None, ..config() };
        let encoder = config.init(&device).unwrap();
        let values: Vec<f32> = (0..20).map(|value| value as f32).collect();
        let values = Tensor::<3>::from_data(TensorData::new(values, [1, 10, 2]), &device);
        let patches = encoder.forward(PatchTstInput { values, observed: None, hidden: None }).patches;
        assert_eq!(patches.dims(), [1, 2, 4, 3]);
        assert_eq!(floats(patches.narrow(1, 1, 1))[..6], [3.0, 5.0, 7.0, 7.0, 9.0, 11.0]);
    }

    #[test]
    fn what_stands_where_nothing_was_observed_never_matters() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = config().init(&device).unwrap();
        let values = Tensor::<3>::random([2, 9, 2], Distribution::Default, &device);
        let missing = Tensor::<3>::random([2, 9, 2], Distribution::Default, &device).lower_elem(0.4);
        let of = |garbage: f32, marked: bool| {
            let values = values.clone().mask_fill(missing.clone(), garbage);
            let observed = marked.then(|| missing.clone().bool_not());
            floats(encoder.encode(PatchTstInput { values, observed, hidden: None }).pooled)
        };
        let expected = of(0.0, true);
        assert!(expected.iter().all(|value| value.is_finite()));
        for (garbage, marked) in [(f32::NAN, true), (f32::INFINITY, true), (1e30, true), (f32::NAN, false)] {
            assert_eq!(of(garbage, marked), expected, "{garbage} {marked}");
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let error = |config: PatchTstConfig| config.validate().unwrap_err().to_string();
        let long = PatchTstConfig { context_length: 3, ..config() };
        assert_eq!(error(long), "patchtst: context_length must lie between 4 and 65536, found 3");
        let heads = PatchTstConfig { num_attention_heads: 3, ..config() };
        assert_eq!(error(heads), "patchtst: heads (3) must divide dim (8)");
        let norm = PatchTstConfig { norm_type: "rms".to_owned(), ..config() };
        assert_eq!(error(norm), "patchtst: norm_type must be batchnorm or layernorm, found rms");
    }
}
