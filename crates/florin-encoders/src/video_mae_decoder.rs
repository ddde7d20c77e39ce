//! What VideoMAE learns from: a small transformer that draws the hidden tubelets from the visible ones.
//!
//! Paper: Tong et al. 2022, <https://arxiv.org/abs/2203.12602>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{LayerNorm, Linear, TransformerBlock, zeros};
use serde::{Deserialize, Serialize};

use crate::sine_positions::SineTable;
use crate::tubelets::{HiddenTubelets, tubelets_by_pixel};
use crate::video_mae::VideoMaeConfig;
use crate::{ConfigError, check_heads, check_size, no_such};

/// Means of ImageNet's colours, which preprocessing has subtracted.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their standard deviations, by which it has divided.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Sizes, under transformers' names and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VideoMaeDecoderConfig {
    /// Attention heads; divides `decoder_hidden_size`.
    pub decoder_num_attention_heads: usize,
    /// Width of the vectors.
    pub decoder_hidden_size: usize,
    /// Blocks.
    pub decoder_num_hidden_layers: usize,
    /// Width inside the perceptrons.
    pub decoder_intermediate_size: usize,
    /// Whether a tubelet is to be drawn in units of its own spread.
    pub norm_pix_loss: bool,
}

/// The decoder.
#[derive(Module, Debug)]
pub struct VideoMaeDecoder {
    /// From the encoder's width to the decoder's.
    pub input: Linear,
    /// What stands for a hidden tubelet, `[1, 1, dim]`.
    pub mask_token: Param<Tensor<3>>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    /// `[dim, values of a tubelet]`
    pub head: Linear,
    /// Sines and cosines, `[tubelets, dim]`.
    #[module(skip)]
    positions: SineTable,
    #[module(skip)]
    tubelet: [usize; 3],
    normed_targets: bool,
}

impl Default for VideoMaeDecoderConfig {
    fn default() -> Self {
        Self {
            decoder_num_attention_heads: 6,
            decoder_hidden_size: 384,
            decoder_num_hidden_layers: 4,
            decoder_intermediate_size: 1536,
            norm_pix_loss: true,
        }
    }
}

impl VideoMaeDecoderConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self, encoder: &VideoMaeConfig) -> Result<(), ConfigError> {
        check_size("videomae", "decoder_hidden_size", self.decoder_hidden_size, 1, 16_384)?;
        check_size("videomae", "decoder_num_hidden_layers", self.decoder_num_hidden_layers, 0, 256)?;
        check_size("videomae", "decoder_intermediate_size", self.decoder_intermediate_size, 1, 131_072)?;
        check_heads("videomae", self.decoder_num_attention_heads, self.decoder_hidden_size)?;
        if !self.norm_pix_loss && encoder.num_channels != 3 {
            let found = encoder.num_channels;
            return Err(no_such("videomae", "num_channels", "3 where pixels are drawn as they are", found));
        }
        Ok(())
    }

    /// New weights.
    pub fn init(&self, encoder: &VideoMaeConfig, device: &Device) -> Result<VideoMaeDecoder, ConfigError> {
        self.validate(encoder)?;
        let (dim, heads) = (self.decoder_hidden_size, self.decoder_num_attention_heads);
        let inner = self.decoder_intermediate_size;
        let blocks = 0..self.decoder_num_hidden_layers;
        let layers: Result<_, _> = blocks.map(|_| encoder.block(dim, heads, inner, device)).collect();
        let values = encoder.num_channels * encoder.tubelet().iter().product::<usize>();
        Ok(VideoMaeDecoder {
            input: Linear::without_bias(encoder.hidden_size, dim, device),
            mask_token: zeros([1, 1, dim], device),
            layers: layers?,
            // transformers leaves this norm's epsilon at PyTorch's own.
            norm: LayerNorm::new(dim, 1e-5, device),
            head: Linear::new(dim, values, device),
            positions: SineTable::new("videomae", encoder.tubelets(), dim)?,
            tubelet: encoder.tubelet(),
            normed_targets: self.norm_pix_loss,
        })
    }
}

impl VideoMaeDecoder {
    /// What the hidden tubelets are thought to hold, frame by frame, row by row, column by column, with the channels side by side.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, visible tubelets, dim of the encoder]`
    /// - output: `[batch, hidden tubelets, values of a tubelet]`
    pub fn forward(&self, x: Tensor<3>, hidden: &HiddenTubelets) -> Tensor<3> {
        let [batch, visible, _] = x.dims();
        let tubelets = self.positions.places();
        let places = self.positions.on(&x.device());
        let places = places.unsqueeze::<3>().expand([batch, tubelets, self.positions.dim()]);
        let seen = self.input.forward(x) + hidden.visible(places.clone());
        let unseen = self.mask_token.val() + hidden.hidden(places);
        let mut x = Tensor::cat(vec![seen, unseen], 1);
        for layer in &self.layers {
            x = layer.forward(x, None, None);
        }
        let x = x.narrow(1, visible, tubelets - visible);
        self.head.forward(self.norm.forward(x))
    }

    /// What they hold: colours from 0 to 1, or each channel of a tubelet by its own mean and spread.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, frames, channels, height, width]`, normalised by ImageNet's colours where there are three
    /// - output: `[batch, hidden tubelets, values of a tubelet]`
    pub fn targets(&self, pixels: Tensor<5>, hidden: &HiddenTubelets) -> Tensor<3> {
        let cut = tubelets_by_pixel(with_colours(pixels), self.tubelet);
        let cut = if self.normed_targets { normed(cut) } else { cut };
        let [batch, tubelets, pixels, channels] = cut.dims();
        hidden.hidden(cut.reshape([batch, tubelets, pixels * channels]))
    }
}

/// Undoes the normalisation of colours.
fn with_colours(pixels: Tensor<5>) -> Tensor<5> {
    let [_, _, channels, _, _] = pixels.dims();
    if channels != 3 {
        return pixels;
    }
    let colours = |values: [f32; 3]| {
        Tensor::<1>::from_floats(values, &pixels.device()).cast(pixels.dtype()).reshape([1, 1, 3, 1, 1])
    };
    let (mean, deviation) = (colours(MEAN), colours(DEVIATION));
    pixels * deviation + mean
}

fn normed(cut: Tensor<4>) -> Tensor<4> {
    let [_, _, pixels, _] = cut.dims();
    let centred = cut.clone() - cut.mean_dim(2);
    let variance = centred.clone().square().sum_dim(2) / (pixels as f64 - 1.0);
    centred / (variance.sqrt() + 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_the_unbiased_spread_of_one_and_the_epsilon_stands_outside_the_root() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let cut = Tensor::<4>::from_floats([[[[1.0], [3.0]]]], &device);
        let found = normed(cut).into_data().try_to_vec::<f32>().expect("f32");
        let expected = 1.0 / (2f32.sqrt() + 1e-6);
        assert!((found[0] + expected).abs() < 1e-6 && (found[1] - expected).abs() < 1e-6, "{found:?}");
        let flat = normed(Tensor::<4>::full([1, 1, 2, 1], 5.0, &device));
        assert_eq!(flat.into_data().try_to_vec::<f32>().expect("f32"), [0.0, 0.0]);
    }

    #[test]
    fn three_channels_are_colours() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let grey = with_colours(Tensor::zeros([1, 1, 3, 1, 1], &device));
        assert_eq!(grey.into_data().try_to_vec::<f32>().expect("f32"), MEAN);
        let other = with_colours(Tensor::zeros([1, 1, 2, 1, 1], &device));
        assert_eq!(other.into_data().try_to_vec::<f32>().expect("f32"), [0.0, 0.0]);
    }
}
