//! TimeSformer: a vision transformer that attends to the same place in other frames, then to the rest of its own frame.
//!
//! Paper: Bertasius et al. 2021, <https://arxiv.org/abs/2102.05095>
//! Difference: none to transformers' version, which groups tokens by the configuration's number of frames whatever the clip has.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Attention, AttentionBiases, AttentionConfig, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder,
    Tokens, TransformerBlock, TransformerBlockConfig, normal, zeros,
};
use serde::{Deserialize, Serialize};

use crate::nearest::nearest;
use crate::tubelets::tubelets;
use crate::{ConfigError, activation, check_heads, check_size, no_such};

const ATTENTION_TYPES: [&str; 3] = ["divided_space_time", "joint_space_time", "space_only"];

/// Sizes, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeSformerConfig {
    /// Side of a frame in pixels for which there are positions; others interpolate them.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Colour channels.
    pub num_channels: usize,
    /// Frames for which there are positions; others interpolate them.
    pub num_frames: usize,
    /// Width of the vectors.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Activation inside the perceptrons.
    pub hidden_act: String,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// `divided_space_time`, `joint_space_time` (every token sees every other) or `space_only` (frames are pictures of their own).
    pub attention_type: String,
}

/// A batch of clips.
#[derive(Clone, Debug)]
pub struct TimeSformerInput {
    /// `[batch, frames, channels, height, width]`
    pub pixels: Tensor<5>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct TimeSformerEncoder {
    /// Patch to vector; the strided convolution of the paper as a matrix.
    pub patch_embedding: Linear,
    /// `[1, 1, dim]`
    pub class_token: Param<Tensor<3>>,
    /// `[1, class token + patches, dim]`
    pub positions: Param<Tensor<3>>,
    /// `[1, frames, dim]`, where frames are told apart.
    pub times: Option<Param<Tensor<3>>>,
    /// The blocks, lowest first.
    pub layers: Vec<TimeSformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    #[module(skip)]
    config: TimeSformerConfig,
}

/// Attention over time where it is divided, then a block over space.
#[derive(Module, Debug)]
pub struct TimeSformerBlock {
    /// Attention over time.
    pub temporal: Option<TemporalAttention>,
    /// Attention over space, or over everything, and the perceptron.
    pub spatial: TransformerBlock,
    frames: usize,
}

/// `x + dense(attention(norm(x)))` over the frames of one place.
#[derive(Module, Debug)]
pub struct TemporalAttention {
    /// Norm before it.
    pub norm: LayerNorm,
    /// The attention.
    pub attention: Attention,
    /// Behind its output.
    pub dense: Linear,
}

impl Default for TimeSformerConfig {
    fn default() -> Self {
        Self {
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            num_frames: 8,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-6,
            qkv_bias: true,
            attention_type: "divided_space_time".to_owned(),
        }
    }
}

impl TimeSformerConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "timesformer";
        for (name, size, most) in [
            ("patch_size", self.patch_size, 1_024),
            ("num_channels", self.num_channels, 16),
            ("num_frames", self.num_frames, 65_536),
            ("hidden_size", self.hidden_size, 16_384),
            ("intermediate_size", self.intermediate_size, 131_072),
        ] {
            check_size(encoder, name, size, 1, most)?;
        }
        check_size(encoder, "image_size", self.image_size, self.patch_size, 8_192)?;
        check_size(encoder, "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_heads(encoder, self.num_attention_heads, self.hidden_size)?;
        if !ATTENTION_TYPES.contains(&self.attention_type.as_str()) {
            let expected = "divided_space_time, joint_space_time or space_only";
            return Err(no_such(encoder, "attention_type", expected, &self.attention_type));
        }
        activation(encoder, &self.hidden_act).map(|_| ())
    }

    /// Refuses a clip that the encoder cannot read, given its frames, height and width; says what it would take.
    pub fn check_clip(&self, [frames, height, width]: [usize; 3]) -> Result<(), String> {
        let patch = self.patch_size;
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(format!("height and width that {patch} divides"));
        }
        if !self.is_divided() {
            return Ok(());
        }
        let tokens = frames * (height / patch) * (width / patch);
        let group = self.num_frames * self.side();
        match tokens.is_multiple_of(group) {
            true => Ok(()),
            false => Err(format!("frames · patches that num_frames · patches of a row ({group}) divides")),
        }
    }

    fn is_divided(&self) -> bool {
        self.attention_type == "divided_space_time"
    }

    /// Patches in a row and in a column for which there are positions.
    fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<TimeSformerEncoder, ConfigError> {
        self.validate()?;
        let dim = self.hidden_size;
        let values = self.num_channels * self.patch_size * self.patch_size;
        let tells_frames = self.attention_type != "space_only";
        let layers: Result<_, _> = (0..self.num_hidden_layers).map(|_| self.block(device)).collect();
        Ok(TimeSformerEncoder {
            patch_embedding: Linear::new(values, dim, device),
            class_token: normal([1, 1, dim], 0.02, device),
            positions: normal([1, self.side() * self.side() + 1, dim], 0.02, device),
            times: tells_frames.then(|| zeros([1, self.num_frames, dim], device)),
            layers: layers?,
            norm: LayerNorm::new(dim, self.layer_norm_eps, device),
            config: self.clone(),
        })
    }

    fn block(&self, device: &Device) -> Result<TimeSformerBlock, ConfigError> {
        let (dim, heads, epsilon) = (self.hidden_size, self.num_attention_heads, self.layer_norm_eps);
        let biases = if self.qkv_bias { AttentionBiases::ALL } else { AttentionBiases::OUTPUT };
        let activation = activation("timesformer", &self.hidden_act)?;
        let usual = TransformerBlockConfig::new(dim, heads, self.intermediate_size, epsilon, NormOrder::Pre);
        let temporal = self.is_divided().then(|| TemporalAttention {
            norm: LayerNorm::new(dim, epsilon, device),
            attention: AttentionConfig::new(dim, heads).with_biases(biases).init(device),
            dense: Linear::new(dim, dim, device),
        });
        let spatial = TransformerBlockConfig { biases, activation, ..usual }.init(device);
        Ok(TimeSformerBlock { temporal, spatial, frames: self.num_frames })
    }
}

impl TimeSformerEncoder {
    /// What the blocks read and give, lowest first, before the final norm. Behind the class token stand the patches, the frames of
    /// each together; where attention is over space only, every frame is a row of the batch.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, frames, channels, height, width]`
    /// - outputs: `[batch, 1 + patches · frames, dim]`, or `[batch · frames, 1 + patches, dim]`
    ///
    /// # Panics
    ///
    /// If [`TimeSformerConfig::check_clip`] refuses the clip.
    pub fn forward(&self, input: TimeSformerInput) -> Vec<Tensor<3>> {
        let mut x = self.embedded(input.pixels);
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x);
        }
        states.push(x);
        states
    }

    fn embedded(&self, pixels: Tensor<5>) -> Tensor<3> {
        let [batch, frames, _, height, width] = pixels.dims();
        let (patch, dim) = (self.config.patch_size, self.config.hidden_size);
        let (rows, columns) = (height / patch, width / patch);
        let (all, patches) = (batch * frames, rows * columns);
        let x = self.patch_embedding.forward(tubelets(pixels, [1, patch, patch])).reshape([all, patches, dim]);
        let x = Tensor::cat(vec![self.class_token.val().expand([all, 1, dim]), x], 1);
        let x = x + self.positions_for(rows, columns);
        let Some(times) = &self.times else { return x };
        let class_token = x.clone().narrow(0, 0, batch).narrow(1, 0, 1);
        let x = x.narrow(1, 1, patches).reshape([batch, frames, patches, dim]).swap_dims(1, 2);
        let times = nearest(times.val(), frames).reshape([1, 1, frames, dim]);
        let x = (x + times).reshape([batch, patches * frames, dim]);
        Tensor::cat(vec![class_token, x], 1)
    }

    /// The positions of a grid, `[1, 1 + rows · columns, dim]`. As in transformers, a grid of as many patches in another shape
    /// keeps the positions as they are.
    fn positions_for(&self, rows: usize, columns: usize) -> Tensor<3> {
        let (side, dim) = (self.config.side(), self.config.hidden_size);
        let positions = self.positions.val();
        if rows * columns == side * side {
            return positions;
        }
        let first = positions.clone().narrow(1, 0, 1);
        let grid = positions.narrow(1, 1, side * side).reshape([side, side, dim]);
        let grid = nearest(grid, columns).swap_dims(0, 1); // [columns, side, dim]
        let grid = nearest(grid, rows).swap_dims(0, 1).reshape([1, rows * columns, dim]);
        Tensor::cat(vec![first, grid], 1)
    }
}

impl TimeSformerBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, 1 + patches · frames, dim]`, the frames of a patch together
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let Some(temporal) = &self.temporal else { return self.spatial.forward(x, None, None) };
        let [_, tokens, _] = x.dims();
        let first = x.clone().narrow(1, 0, 1);
        let rest = x.narrow(1, 1, tokens - 1);
        let rest = rest.clone() + temporal.forward(rest, self.frames);
        let x = Tensor::cat(vec![first, rest], 1);
        let x = x.clone() + self.over_space(x);
        x.clone() + self.spatial.mlp.forward(self.spatial.mlp_norm.forward(x))
    }

    /// Attention within each frame, the class token in all of them; it takes the mean of what they give it.
    fn over_space(&self, x: Tensor<3>) -> Tensor<3> {
        let ([batch, tokens, dim], frames) = (x.dims(), self.frames);
        let patches = (tokens - 1) / frames;
        let first = x.clone().narrow(1, 0, 1).expand([batch, frames, dim]).reshape([batch * frames, 1, dim]);
        let rest = x.narrow(1, 1, tokens - 1).reshape([batch, patches, frames, dim]).swap_dims(1, 2);
        let x = Tensor::cat(vec![first, rest.reshape([batch * frames, patches, dim])], 1);
        let normed = self.spatial.attention_norm.forward(x);
        let mixed = self.spatial.attention.forward(normed.clone(), normed, None, None);
        let first = mixed.clone().narrow(1, 0, 1).reshape([batch, frames, dim]).mean_dim(1);
        let rest = mixed.narrow(1, 1, patches).reshape([batch, frames, patches, dim]).swap_dims(1, 2);
        Tensor::cat(vec![first, rest.reshape([batch, patches * frames, dim])], 1)
    }
}

impl TemporalAttention {
    /// # Shapes
    ///
    /// - x, output: `[batch, patches · frames, dim]`, the frames of a patch together
    pub fn forward(&self, x: Tensor<3>, frames: usize) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let normed = self.norm.forward(x.reshape([batch * tokens / frames, frames, dim]));
        let mixed = self.attention.forward(normed.clone(), normed, None, None);
        self.dense.forward(mixed.reshape([batch, tokens, dim]))
    }
}

impl Encoder for TimeSformerEncoder {
    type Input = TimeSformerInput;

    fn modality(&self) -> Modality {
        Modality::Video
    }

    fn dim(&self) -> usize {
        self.config.hidden_size
    }

    /// Pooled is the class token's vector.
    fn encode(&self, input: TimeSformerInput) -> Encoded {
        let last = self.norm.forward(self.forward(input).pop().expect("there is always a state"));
        let [batch, tokens, _] = last.dims();
        let pooled = last.clone().narrow(1, 0, 1).squeeze_dim(1);
        let mask = Mask::all_kept(batch, tokens, &last.device());
        Encoded { modality: Modality::Video, pooled, tokens: Tokens::new(last, mask) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TimeSformerConfig {
        let sizes =
            TimeSformerConfig { image_size: 4, patch_size: 2, num_channels: 1, num_frames: 3, ..Default::default() };
        let sizes = TimeSformerConfig { hidden_size: 8, num_attention_heads: 2, intermediate_size: 10, ..sizes };
        TimeSformerConfig { num_hidden_layers: 1, ..sizes }
    }

    /// Which tokens change when one does.
    fn moved(change: impl Fn(Tensor<3>) -> Tensor<3>, poked: usize, device: &Device) -> Vec<usize> {
        let x = Tensor::<3>::random([1, 13, 8], burn::tensor::Distribution::Default, device);
        let other = x.clone().slice_assign([0..1, poked..poked + 1, 0..8], Tensor::zeros([1, 1, 8], device));
        let gap = (change(x.clone()) - change(other)).abs().sum_dim(2).into_data().try_to_vec::<f32>().expect("f32");
        gap.iter().enumerate().filter(|(_, gap)| **gap > 0.0).map(|(token, _)| token).collect()
    }

    #[test]
    fn time_is_read_at_one_place_and_space_in_one_frame() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = config().init(&device).unwrap();
        let block = &encoder.layers[0];
        let temporal = block.temporal.as_ref().expect("attention is divided");
        let over_time = |x: Tensor<3>| temporal.forward(x.narrow(1, 1, 12), 3);
        // Token 8 is the second frame of the third patch; without the class token its patch's frames are 6, 7 and 8.
        assert_eq!(moved(over_time, 8, &device), [6, 7, 8]);
        // The class token and every patch's second frame.
        assert_eq!(moved(|x| block.over_space(x), 8, &device), [0, 2, 5, 8, 11]);
    }

    #[test]
    fn clips_that_cannot_be_cut_are_refused() {
        assert!(config().check_clip([3, 4, 4]).is_ok());
        assert!(config().check_clip([6, 4, 2]).is_ok());
        assert_eq!(config().check_clip([3, 5, 4]).unwrap_err(), "height and width that 2 divides");
        assert!(config().check_clip([2, 4, 4]).is_err());
        let joint = TimeSformerConfig { attention_type: "joint_space_time".to_owned(), ..config() };
        assert!(joint.check_clip([2, 4, 4]).is_ok());
        let error = TimeSformerConfig { attention_type: "time".to_owned(), ..config() }.validate().unwrap_err();
        let expected = "attention_type must be divided_space_time, joint_space_time or space_only, found time";
        assert_eq!(error.to_string(), format!("timesformer: {expected}"));
    }
}
