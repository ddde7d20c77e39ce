//! What MAE learns from: a small transformer that draws all patches of a picture from those that the encoder saw.
//!
//! Paper: He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>
//! Difference: for another number of patches positions are interpolated along their list, as in transformers, not in the grid.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{LayerNorm, Linear, TransformerBlock, normal, zeros};
use serde::{Deserialize, Serialize};

use crate::noise_order::NoiseOrder;
use crate::positions::{Resizing, resized_positions};
use crate::{ConfigError, VitConfig, VitVariant, check_heads, check_size};

/// Sizes, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VitMaeDecoderConfig {
    /// Attention heads; divides `decoder_hidden_size`.
    pub decoder_num_attention_heads: usize,
    /// Width of the vectors.
    pub decoder_hidden_size: usize,
    /// Blocks.
    pub decoder_num_hidden_layers: usize,
    /// Width inside the perceptrons.
    pub decoder_intermediate_size: usize,
}

/// The decoder.
#[derive(Module, Debug)]
pub struct VitMaeDecoder {
    /// From the encoder's width to the decoder's.
    pub input: Linear,
    /// What stands for a patch that was not seen, `[1, 1, dim]`.
    pub mask_token: Param<Tensor<3>>,
    /// `[1, 1 + patches, dim]`, from a file and not learned.
    pub position_embeddings: Param<Tensor<3>>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    /// `[dim, patch · patch · channels]`
    pub head: Linear,
    patches: usize,
}

impl Default for VitMaeDecoderConfig {
    fn default() -> Self {
        Self {
            decoder_num_attention_heads: 16,
            decoder_hidden_size: 512,
            decoder_num_hidden_layers: 8,
            decoder_intermediate_size: 2048,
        }
    }
}

impl VitMaeDecoderConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("vit_mae", "decoder_hidden_size", self.decoder_hidden_size, 1, 16_384)?;
        check_size("vit_mae", "decoder_num_hidden_layers", self.decoder_num_hidden_layers, 0, 256)?;
        check_size("vit_mae", "decoder_intermediate_size", self.decoder_intermediate_size, 1, 131_072)?;
        check_heads("vit_mae", self.decoder_num_attention_heads, self.decoder_hidden_size)
    }

    /// New weights, for an encoder of these sizes; the blocks are of the same kind.
    pub fn init(
        &self,
        encoder: &VitConfig,
        variant: &VitVariant,
        device: &Device,
    ) -> Result<VitMaeDecoder, ConfigError> {
        self.validate()?;
        let (dim, patches) = (self.decoder_hidden_size, encoder.patches());
        let (heads, hidden) = (self.decoder_num_attention_heads, self.decoder_intermediate_size);
        let block = VitConfig { dim, heads, hidden, ..encoder.clone() }.block(variant);
        Ok(VitMaeDecoder {
            input: Linear::new(encoder.dim, dim, device),
            mask_token: zeros([1, 1, dim], device),
            position_embeddings: normal([1, 1 + patches, dim], 0.02, device),
            layers: (0..self.decoder_num_hidden_layers).map(|_| block.init(device)).collect(),
            norm: LayerNorm::new(dim, encoder.epsilon, device),
            head: Linear::new(dim, encoder.patch * encoder.patch * encoder.channels, device),
            patches,
        })
    }
}

impl VitMaeDecoder {
    /// What every patch is thought to hold, row by row, with the channels of a pixel side by side.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, 1 + visible, dim of the encoder]`, in the order of the noise
    /// - output: `[batch, patches, patch · patch · channels]`
    pub fn forward(&self, x: Tensor<3>, order: &NoiseOrder) -> Tensor<3> {
        let x = self.input.forward(x);
        let ([batch, seen, dim], patches) = (x.dims(), order.patches());
        let mut tokens = vec![x];
        if seen < 1 + patches {
            tokens.push(self.mask_token.val().expand([batch, 1 + patches - seen, dim]));
        }
        let table = self.position_embeddings.val().detach();
        let positions = resized_positions(table, [1, self.patches], [1, patches], Resizing::Bicubic);
        let mut x = order.restored(Tensor::cat(tokens, 1)) + positions;
        for layer in &self.layers {
            x = layer.forward(x, None, None);
        }
        self.head.forward(self.norm.forward(x)).narrow(1, 1, patches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_which_nothing_was_seen_is_drawn_too_and_positions_are_not_trained() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let (height, width, patch, channels, dim, layers, heads, hidden) = (4, 6, 2, 1, 8, 1, 2, 16);
        let (class_token, epsilon) = (true, 1e-12);
        let encoder = VitConfig { height, width, patch, channels, dim, layers, heads, hidden, class_token, epsilon };
        let sizes =
            VitMaeDecoderConfig { decoder_hidden_size: 12, decoder_num_attention_heads: 3, ..Default::default() };
        let sizes = VitMaeDecoderConfig { decoder_num_hidden_layers: 1, decoder_intermediate_size: 10, ..sizes };
        let decoder = sizes.init(&encoder, &VitVariant::default(), &device).unwrap();
        let order = NoiseOrder::new(&[0.0; 12], 6, 0);
        let drawn = decoder.forward(Tensor::ones([2, 1, 8], &device), &order);
        assert_eq!(drawn.dims(), [2, 6, 4]);
        let gradients = drawn.sum().backward();
        assert!(decoder.position_embeddings.val().grad(&gradients).is_none());
        assert!(decoder.mask_token.val().grad(&gradients).is_some());
        let error = VitMaeDecoderConfig { decoder_hidden_size: 13, ..sizes }.validate().unwrap_err().to_string();
        assert_eq!(error, "vit_mae: heads (3) must divide dim (13)");
    }
}
