//! VideoMAE: a vision transformer over the tubelets of a clip, of which it may see only some.
//!
//! Paper: Tong et al. 2022, <https://arxiv.org/abs/2203.12602>
//! Difference: none.

use burn::prelude::*;
use florin_nn::{
    AttentionBiases, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder, Tokens, TransformerBlock,
    TransformerBlockConfig,
};
use serde::{Deserialize, Serialize};

use crate::sine_positions::SineTable;
use crate::tubelets::{HiddenTubelets, tubelets};
use crate::{ConfigError, activation, check_heads, check_size, no_such};

/// Height and width, or one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sides {
    /// As high as wide.
    Square(usize),
    /// Height, then width.
    Each([usize; 2]),
}

impl Sides {
    /// Height and width.
    pub fn both(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Each(sides) => sides,
        }
    }
}

/// Sizes, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VideoMaeConfig {
    /// Sides of a frame in pixels.
    pub image_size: Sides,
    /// Sides of a tubelet in pixels; they divide the frame's.
    pub patch_size: Sides,
    /// Colour channels.
    pub num_channels: usize,
    /// Frames of a clip.
    pub num_frames: usize,
    /// Frames of a tubelet; divides `num_frames`.
    pub tubelet_size: usize,
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
    /// Whether queries and values have biases; keys never do.
    #[serde(alias = "qkv_bias")]
    pub qv_bias: bool,
    /// Whether tokens are averaged for a head, which then has a norm; otherwise the encoder ends with one.
    pub use_mean_pooling: bool,
}

/// A batch of clips.
#[derive(Clone, Debug)]
pub struct VideoMaeInput {
    /// `[batch, frames, channels, height, width]`
    pub pixels: Tensor<5>,
    /// What the encoder does not see.
    pub hidden: Option<HiddenTubelets>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct VideoMaeEncoder {
    /// Tubelet to vector; the strided convolution of the paper as a matrix.
    pub tubelet_embedding: Linear,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm, where tokens are not averaged.
    pub norm: Option<LayerNorm>,
    /// Sines and cosines, `[tubelets, dim]`; not learned and in no file.
    #[module(skip)]
    positions: SineTable,
    dim: usize,
    #[module(skip)]
    tubelet: [usize; 3],
}

impl Default for VideoMaeConfig {
    fn default() -> Self {
        Self {
            image_size: Sides::Square(224),
            patch_size: Sides::Square(16),
            num_channels: 3,
            num_frames: 16,
            tubelet_size: 2,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            qv_bias: true,
            use_mean_pooling: true,
        }
    }
}

impl VideoMaeConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "videomae";
        let [height, width] = self.image_size.both();
        let [frames, rows, columns] = self.tubelet();
        for (name, size, most) in [
            ("image_size", height, 8_192),
            ("image_size", width, 8_192),
            ("num_frames", self.num_frames, 65_536),
            ("num_channels", self.num_channels, 16),
            ("patch_size", rows, 1_024),
            ("patch_size", columns, 1_024),
            ("tubelet_size", frames, 1_024),
            ("hidden_size", self.hidden_size, 16_384),
            ("intermediate_size", self.intermediate_size, 131_072),
        ] {
            check_size(encoder, name, size, 1, most)?;
        }
        check_size(encoder, "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_heads(encoder, self.num_attention_heads, self.hidden_size)?;
        activation(encoder, &self.hidden_act)?;
        for (name, whole, part) in
            [("patch_size", height, rows), ("patch_size", width, columns), ("tubelet_size", self.num_frames, frames)]
        {
            if !whole.is_multiple_of(part) {
                return Err(no_such(encoder, name, "a divisor of what it cuts", format!("{part} of {whole}")));
            }
        }
        check_size(encoder, "tubelets", self.tubelets(), 1, 1_048_576)
    }

    /// Frames, height and width of a tubelet.
    pub fn tubelet(&self) -> [usize; 3] {
        let [height, width] = self.patch_size.both();
        [self.tubelet_size, height, width]
    }

    /// Tubelets of a clip.
    pub fn tubelets(&self) -> usize {
        let ([height, width], [frames, rows, columns]) = (self.image_size.both(), self.tubelet());
        (self.num_frames / frames) * (height / rows) * (width / columns)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<VideoMaeEncoder, ConfigError> {
        self.validate()?;
        let values = self.num_channels * self.tubelet().iter().product::<usize>();
        let (dim, norm) = (self.hidden_size, !self.use_mean_pooling);
        let (heads, inner) = (self.num_attention_heads, self.intermediate_size);
        let layers: Result<_, _> = (0..self.num_hidden_layers).map(|_| self.block(dim, heads, inner, device)).collect();
        Ok(VideoMaeEncoder {
            tubelet_embedding: Linear::new(values, dim, device),
            layers: layers?,
            norm: norm.then(|| LayerNorm::new(dim, self.layer_norm_eps, device)),
            positions: SineTable::new("videomae", self.tubelets(), dim)?,
            dim,
            tubelet: self.tubelet(),
        })
    }

    /// A block of the encoder's kind in any size: the decoder's differ in nothing else.
    pub(crate) fn block(
        &self,
        dim: usize,
        heads: usize,
        inner: usize,
        device: &Device,
    ) -> Result<TransformerBlock, ConfigError> {
        let biases = AttentionBiases { query: self.qv_bias, value: self.qv_bias, ..AttentionBiases::ALL_BUT_KEY };
        let activation = activation("videomae", &self.hidden_act)?;
        let usual = TransformerBlockConfig::new(dim, heads, inner, self.layer_norm_eps, NormOrder::Pre);
        Ok(TransformerBlockConfig { biases, activation, ..usual }.init(device))
    }
}

impl VideoMaeEncoder {
    /// What the blocks read and give, lowest first.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, frames, channels, height, width]`
    /// - outputs: `[batch, visible tubelets, dim]`
    pub fn forward(&self, input: VideoMaeInput) -> Vec<Tensor<3>> {
        let x = self.tubelet_embedding.forward(tubelets(input.pixels, self.tubelet));
        let mut x = x.clone() + self.positions.on(&x.device()).unsqueeze();
        if let Some(hidden) = &input.hidden {
            x = hidden.visible(x);
        }
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x, None, None);
        }
        states.push(x);
        states
    }

    /// What the last block gives, normed where the encoder ends with a norm.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, tokens, dim]`
    pub fn normed(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

impl Encoder for VideoMaeEncoder {
    type Input = VideoMaeInput;

    fn modality(&self) -> Modality {
        Modality::Video
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: VideoMaeInput) -> Encoded {
        let last = self.normed(self.forward(input).pop().expect("there is always a state"));
        let [batch, tokens, _] = last.dims();
        let mask = Mask::all_kept(batch, tokens, &last.device());
        let tokens = Tokens::new(last, mask);
        Encoded { modality: Modality::Video, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VideoMaeConfig {
        let sizes =
            VideoMaeConfig { image_size: Sides::Each([4, 6]), patch_size: Sides::Square(2), ..Default::default() };
        let sizes = VideoMaeConfig { num_channels: 1, num_frames: 4, hidden_size: 8, num_attention_heads: 2, ..sizes };
        VideoMaeConfig { num_hidden_layers: 1, intermediate_size: 10, ..sizes }
    }

    #[test]
    fn what_is_hidden_has_no_part_in_what_is_seen() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = config().init(&device).unwrap();
        assert_eq!(config().tubelets(), 12);
        let marks: Vec<bool> = (0..12).map(|tubelet| tubelet >= 6).collect();
        let pooled = |later: f32| {
            let early = Tensor::<5>::ones([1, 2, 1, 4, 6], &device);
            let pixels = Tensor::cat(vec![early.clone(), early * later], 1);
            let encoded = encoder.encode(VideoMaeInput { pixels, hidden: HiddenTubelets::new(&marks, 1, 12) });
            assert_eq!(encoded.tokens.dims(), [1, 6, 8]);
            encoded.pooled.into_data().try_to_vec::<f32>().expect("f32")
        };
        assert_eq!(pooled(0.0), pooled(9.0));
    }

    #[test]
    fn tubelets_that_are_not_whole_are_refused() {
        let error = VideoMaeConfig { num_frames: 5, ..config() }.validate().unwrap_err().to_string();
        assert_eq!(error, "videomae: tubelet_size must be a divisor of what it cuts, found 2 of 5");
        let error = VideoMaeConfig { patch_size: Sides::Square(0), ..config() }.validate().unwrap_err().to_string();
        assert_eq!(error, "videomae: patch_size must lie between 1 and 1024, found 0");
    }
}
