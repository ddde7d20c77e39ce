//! The Audio Spectrogram Transformer (AST): a vision transformer over overlapping patches of a log-mel.
//!
//! Paper: Gong et al. 2021, <https://arxiv.org/abs/2104.01778>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    AttentionBiases, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder, Tokens, TransformerBlock,
    TransformerBlockConfig, normal,
};
use serde::{Deserialize, Serialize};

use crate::overlapping_patches::Cut;
use crate::{ConfigError, activation, check_heads, check_size, no_such};

const ENCODER: &str = "audio-spectrogram-transformer";

/// Sizes of the encoder, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpectrogramTransformerConfig {
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
    /// Bands and frames of a patch.
    pub patch_size: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Bands from one patch to the next.
    pub frequency_stride: usize,
    /// Frames from one patch to the next.
    pub time_stride: usize,
    /// Frames of a sound.
    pub max_length: usize,
    /// Mel bands of a frame.
    pub num_mel_bins: usize,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct SpectrogramTransformerEncoder {
    /// Patch to vector; the convolution of the paper as a matrix.
    pub patch_embedding: Linear,
    /// `[1, 1, dim]`
    pub class_token: Param<Tensor<3>>,
    /// `[1, 1, dim]`, of the teacher in DeiT, whose weights the paper begins with.
    pub distillation_token: Param<Tensor<3>>,
    /// `[1, 2 + patches, dim]`
    pub position_embeddings: Param<Tensor<3>>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    dim: usize,
    #[module(skip)]
    cut: Cut,
}

impl Default for SpectrogramTransformerConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            patch_size: 16,
            qkv_bias: true,
            frequency_stride: 10,
            time_stride: 10,
            max_length: 1024,
            num_mel_bins: 128,
        }
    }
}

impl SpectrogramTransformerConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, size, most) in [
            ("hidden_size", self.hidden_size, 16_384),
            ("intermediate_size", self.intermediate_size, 131_072),
            ("patch_size", self.patch_size, 1_024),
            ("frequency_stride", self.frequency_stride, 1_024),
            ("time_stride", self.time_stride, 1_024),
            ("max_length", self.max_length, 1_000_000),
            ("num_mel_bins", self.num_mel_bins, 4_096),
        ] {
            check_size(ENCODER, name, size, 1, most)?;
        }
        check_size(ENCODER, "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        activation(ENCODER, &self.hidden_act)?;
        if self.patch_size > self.max_length.min(self.num_mel_bins) {
            let found = format!("{} of {} x {}", self.patch_size, self.num_mel_bins, self.max_length);
            return Err(no_such(ENCODER, "patch_size", "at most num_mel_bins and max_length", found));
        }
        let [bands, times] = self.patches();
        check_size(ENCODER, "patches", bands * times, 1, 1_048_576)?;
        check_heads(ENCODER, self.num_attention_heads, self.hidden_size)
    }

    /// Patches along the bands and along the frames.
    pub fn patches(&self) -> [usize; 2] {
        self.cut().grid([self.num_mel_bins, self.max_length])
    }

    fn cut(&self) -> Cut {
        let strides = [self.frequency_stride, self.time_stride];
        Cut { size: [self.patch_size; 2], strides, padding: [0; 2] }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<SpectrogramTransformerEncoder, ConfigError> {
        self.validate()?;
        let (dim, patch, epsilon) = (self.hidden_size, self.patch_size, self.layer_norm_eps);
        let (heads, hidden) = (self.num_attention_heads, self.intermediate_size);
        let usual = TransformerBlockConfig::new(dim, heads, hidden, epsilon, NormOrder::Pre);
        let biases = if self.qkv_bias { AttentionBiases::ALL } else { AttentionBiases::OUTPUT };
        let block = TransformerBlockConfig { activation: activation(ENCODER, &self.hidden_act)?, biases, ..usual };
        let tokens = 2 + self.patches().iter().product::<usize>();
        Ok(SpectrogramTransformerEncoder {
            patch_embedding: Linear::new(patch * patch, dim, device),
            class_token: normal([1, 1, dim], 0.02, device),
            distillation_token: normal([1, 1, dim], 0.02, device),
            position_embeddings: normal([1, tokens, dim], 0.02, device),
            layers: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            norm: LayerNorm::new(dim, epsilon, device),
            dim,
            cut: self.cut(),
        })
    }
}

impl SpectrogramTransformerEncoder {
    /// What the blocks read and give, lowest first, before the final norm.
    ///
    /// # Shapes
    ///
    /// - log_mel: `[batch, frames, bands]`
    /// - outputs: `[batch, 2 + patches, dim]`
    pub fn hidden_states(&self, log_mel: Tensor<3>) -> Vec<Tensor<3>> {
        let [batch, _, _] = log_mel.dims();
        let patches = self.cut.patches(log_mel.swap_dims(1, 2).unsqueeze_dim(1));
        let token = |token: &Param<Tensor<3>>| token.val().repeat_dim(0, batch);
        let tokens =
            vec![token(&self.class_token), token(&self.distillation_token), self.patch_embedding.forward(patches)];
        let mut x = Tensor::cat(tokens, 1) + self.position_embeddings.val();
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x, None, None);
        }
        states.push(x);
        states
    }

    /// The mean of the first two tokens.
    ///
    /// # Shapes
    ///
    /// - normed: `[batch, 2 + patches, dim]`
    /// - output: `[batch, dim]`
    pub fn pooled(&self, normed: Tensor<3>) -> Tensor<2> {
        normed.narrow(1, 0, 2).mean_dim(1).squeeze_dim(1)
    }
}

impl Encoder for SpectrogramTransformerEncoder {
    /// A log-mel, `[batch, frames, bands]`.
    type Input = Tensor<3>;

    fn modality(&self) -> Modality {
        Modality::Audio
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: Tensor<3>) -> Encoded {
        let last = self.hidden_states(input).pop().expect("there is always a state");
        let normed = self.norm.forward(last);
        let [batch, seq, _] = normed.dims();
        let mask = Mask::all_kept(batch, seq, &normed.device());
        let pooled = self.pooled(normed.clone());
        Encoded { modality: Modality::Audio, pooled, tokens: Tokens::new(normed, mask) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> SpectrogramTransformerConfig {
        let sizes = SpectrogramTransformerConfig { hidden_size: 8, num_attention_heads: 2, ..Default::default() };
        let sizes =
            SpectrogramTransformerConfig { intermediate_size: 12, num_hidden_layers: 1, patch_size: 3, ..sizes };
        SpectrogramTransformerConfig { frequency_stride: 2, time_stride: 3, num_mel_bins: 8, max_length: 11, ..sizes }
    }

    #[test]
    fn a_sound_becomes_two_tokens_and_its_patches() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = small().init(&device).unwrap();
        assert_eq!(small().patches(), [3, 3]);
        let encoded = encoder.encode(Tensor::ones([2, 11, 8], &device));
        assert_eq!((encoded.tokens.dims(), encoded.pooled.dims()), ([2, 11, 8], [2, 8]));
    }

    #[test]
    fn a_patch_beyond_the_sound_is_refused() {
        let error = SpectrogramTransformerConfig { patch_size: 9, ..small() }.validate().unwrap_err().to_string();
        let expected = "patch_size must be at most num_mel_bins and max_length, found 9 of 8 x 11";
        assert_eq!(error, format!("{ENCODER}: {expected}"));
    }
}
