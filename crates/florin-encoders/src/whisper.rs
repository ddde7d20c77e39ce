//! Whisper's encoder: two convolutions over the frames of a log-mel, then a transformer.
//!
//! Paper: Radford et al. 2022, <https://arxiv.org/abs/2212.04356>
//! Difference: the encoder alone, without dropout and layer drop. Positions are what the file says (sines, in all that were published)
//! and never trained, as in transformers.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Activation, AttentionBiases, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder, Tokens,
    TransformerBlock, TransformerBlockConfig, normal,
};
use serde::{Deserialize, Serialize};

use crate::taps::taps;
use crate::{ConfigError, activation, check_heads, check_size};

/// Taps of both convolutions.
const TAPS: usize = 3;
/// transformers leaves the norms' epsilon at PyTorch's own.
const EPSILON: f64 = 1e-5;

/// Sizes of the encoder, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhisperConfig {
    /// Mel bands of a frame.
    pub num_mel_bins: usize,
    /// Width of the vectors.
    pub d_model: usize,
    /// Blocks.
    pub encoder_layers: usize,
    /// Attention heads; divides `d_model`.
    pub encoder_attention_heads: usize,
    /// Width inside the perceptrons.
    pub encoder_ffn_dim: usize,
    /// Activation inside the perceptrons; the convolutions have GELU whatever this says.
    pub activation_function: String,
    /// Vectors of a sound, half its frames.
    pub max_source_positions: usize,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct WhisperEncoder {
    /// `[bands · taps, dim]`, a convolution of all frames.
    pub first: Linear,
    /// `[dim · taps, dim]`, a convolution at every second frame.
    pub second: Linear,
    /// `[vectors, dim]`, never trained.
    pub positions: Param<Tensor<2>>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    dim: usize,
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self {
            num_mel_bins: 80,
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            activation_function: "gelu".to_owned(),
            max_source_positions: 1500,
        }
    }
}

impl WhisperConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "whisper";
        check_size(encoder, "num_mel_bins", self.num_mel_bins, 1, 4_096)?;
        check_size(encoder, "d_model", self.d_model, 1, 16_384)?;
        check_size(encoder, "encoder_layers", self.encoder_layers, 0, 256)?;
        check_size(encoder, "encoder_ffn_dim", self.encoder_ffn_dim, 1, 131_072)?;
        check_size(encoder, "max_source_positions", self.max_source_positions, 1, 1_000_000)?;
        activation(encoder, &self.activation_function)?;
        check_heads(encoder, self.encoder_attention_heads, self.d_model)
    }

    /// Frames of a sound.
    pub fn frames(&self) -> usize {
        2 * self.max_source_positions
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<WhisperEncoder, ConfigError> {
        self.validate()?;
        let (dim, heads) = (self.d_model, self.encoder_attention_heads);
        let usual = TransformerBlockConfig::new(dim, heads, self.encoder_ffn_dim, EPSILON, NormOrder::Pre);
        let activation = activation("whisper", &self.activation_function)?;
        let block = TransformerBlockConfig { activation, biases: AttentionBiases::ALL_BUT_KEY, ..usual };
        Ok(WhisperEncoder {
            first: Linear::new(self.num_mel_bins * TAPS, dim, device),
            second: Linear::new(dim * TAPS, dim, device),
            positions: normal([self.max_source_positions, dim], 0.02, device),
            layers: (0..self.encoder_layers).map(|_| block.init(device)).collect(),
            norm: LayerNorm::new(dim, EPSILON, device),
            dim,
        })
    }
}

impl WhisperEncoder {
    /// What the blocks read, lowest first, and last what the final norm gives.
    ///
    /// # Shapes
    ///
    /// - log_mel: `[batch, bands, frames]`, twice as many frames as positions
    /// - outputs: `[batch, frames / 2, dim]`
    pub fn hidden_states(&self, log_mel: Tensor<3>) -> Vec<Tensor<3>> {
        let x = self.first.forward_activated(taps(log_mel.swap_dims(1, 2), TAPS, 1, 1), Activation::Gelu);
        let x = self.second.forward_activated(taps(x, TAPS, 2, 1), Activation::Gelu);
        let mut x = x + self.positions.val().detach().unsqueeze();
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x, None, None);
        }
        states.push(self.norm.forward(x));
        states
    }
}

impl Encoder for WhisperEncoder {
    /// A log-mel, `[batch, bands, frames]`.
    type Input = Tensor<3>;

    fn modality(&self) -> Modality {
        Modality::Audio
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: Tensor<3>) -> Encoded {
        let last = self.hidden_states(input).pop().expect("there is always a state");
        let [batch, seq, _] = last.dims();
        let mask = Mask::all_kept(batch, seq, &last.device());
        let tokens = Tokens::new(last, mask);
        Encoded { modality: Modality::Audio, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> WhisperConfig {
        let sizes = WhisperConfig { num_mel_bins: 5, d_model: 8, encoder_layers: 2, ..Default::default() };
        WhisperConfig { encoder_attention_heads: 2, encoder_ffn_dim: 12, max_source_positions: 7, ..sizes }
    }

    #[test]
    fn a_vector_is_made_of_two_frames_and_positions_are_not_trained() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let encoder = small().init(&device).unwrap();
        let encoded = encoder.encode(Tensor::ones([2, 5, small().frames()], &device));
        assert_eq!((encoded.tokens.dims(), encoded.pooled.dims()), ([2, 7, 8], [2, 8]));
        let gradients = encoded.pooled.sum().backward();
        assert!(encoder.first.weight.val().grad(&gradients).is_some());
        assert!(encoder.positions.val().grad(&gradients).is_none());
    }

    #[test]
    fn sizes_are_bounded() {
        let error = |config: WhisperConfig| config.validate().unwrap_err().to_string();
        let found = error(WhisperConfig { encoder_attention_heads: 3, ..small() });
        assert_eq!(found, "whisper: heads (3) must divide dim (8)");
        let found = error(WhisperConfig { max_source_positions: 0, ..small() });
        assert_eq!(found, "whisper: max_source_positions must lie between 1 and 1000000, found 0");
    }
}
