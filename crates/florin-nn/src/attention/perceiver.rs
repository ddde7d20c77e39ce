//! Few learned latents that read many tokens: a sequence of any length becomes one of a fixed length.
//!
//! Each layer: `z += attention(q = norm(z), k = v = [norm(media); norm(z)]); z += mlp(norm(z))`, with separate norms for media
//! and latents and no biases in linear layers; a last norm. With `keys_with_latents` off the keys are the media alone.
//!
//! Paper: Alayrac et al. 2022 (Flamingo), <https://arxiv.org/abs/2204.14198>
//! Difference: media of another width than the latents are projected first, as the two share key and value projections;
//! latents start from N(0, 0.02) as in Perceiver.
//! Paper: Jaegle et al. 2021 (Perceiver), <https://arxiv.org/abs/2103.03206>
//! Difference: without `keys_with_latents`, latents meet each other only through the perceptrons of later layers' queries: the
//! self-attention between latents is left to blocks around.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::Activation;

use crate::attention::multi_head::{Attention, AttentionBiases, AttentionConfig};
use crate::config_error::{ConfigError, none_is_zero};
use crate::initialise::normal;
use crate::{LayerNorm, Linear, Mask, Mlp};

/// Sizes of a resampler; Flamingo's are a depth of 6, 64 latents and 8 heads of 64.
#[derive(Clone, Debug)]
pub struct PerceiverResamplerConfig {
    /// Width of the latents.
    pub dim: usize,
    /// Width of the media's tokens; projected to `dim` where it differs.
    pub context_dim: usize,
    /// How many tokens come out.
    pub latents: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head; `heads · head_dim` need not be `dim`.
    pub head_dim: usize,
    /// Whether the latents are keys and values too, after the media: Flamingo's definition.
    pub keys_with_latents: bool,
}

/// Learned latents that read a sequence.
#[derive(Module, Debug)]
pub struct PerceiverResampler {
    /// `[latents, dim]`
    pub latents: Param<Tensor<2>>,
    /// Media to the latents' width, where theirs is another; without a bias.
    pub projection: Option<Linear>,
    /// One reading after another.
    pub layers: Vec<PerceiverLayer>,
    /// Norm of the result.
    pub norm: LayerNorm,
}

/// One reading of the media by the latents.
#[derive(Module, Debug)]
pub struct PerceiverLayer {
    /// Norm of the media.
    pub media_norm: LayerNorm,
    /// Norm of the latents before they ask.
    pub latents_norm: LayerNorm,
    /// Latents ask, media and latents answer.
    pub attention: Attention,
    /// Norm before the perceptron.
    pub mlp_norm: LayerNorm,
    /// Four times as wide inside.
    pub mlp: Mlp,
    keys_with_latents: bool,
}

impl PerceiverResamplerConfig {
    /// Flamingo's resampler of that width.
    pub fn flamingo(dim: usize) -> Self {
        Self { dim, context_dim: dim, latents: 64, depth: 6, heads: 8, head_dim: 64, keys_with_latents: true }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        none_is_zero(&[
            ("perceiver: dim", self.dim),
            ("perceiver: context_dim", self.context_dim),
            ("perceiver: latents", self.latents),
            ("perceiver: depth", self.depth),
            ("perceiver: heads", self.heads),
            ("perceiver: head_dim", self.head_dim),
        ])
    }

    /// New weights, with GELU in the perceptrons.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> PerceiverResampler {
        self.init_with(Activation::Gelu, device)
    }

    /// New weights, with another activation in the perceptrons: open_flamingo has GELU, Idefics ReLU.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init_with(&self, activation: Activation, device: &Device) -> PerceiverResampler {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        let differs = self.context_dim != self.dim;
        PerceiverResampler {
            latents: normal([self.latents, self.dim], 0.02, device),
            projection: differs.then(|| Linear::without_bias(self.context_dim, self.dim, device)),
            layers: (0..self.depth).map(|_| self.layer(activation, device)).collect(),
            norm: LayerNorm::new(self.dim, 1e-5, device),
        }
    }

    fn layer(&self, activation: Activation, device: &Device) -> PerceiverLayer {
        let norm = || LayerNorm::new(self.dim, 1e-5, device);
        let attention =
            AttentionConfig::new(self.dim, self.heads).with_head_dim(self.head_dim).with_biases(AttentionBiases::NONE);
        PerceiverLayer {
            media_norm: norm(),
            latents_norm: norm(),
            attention: attention.init(device),
            mlp_norm: norm(),
            mlp: Mlp::without_biases(self.dim, 4 * self.dim, activation, device),
            keys_with_latents: self.keys_with_latents,
        }
    }
}

impl PerceiverResampler {
    /// A row whose media are all hidden gives what the latents make of themselves; what stands in hidden places never matters.
    ///
    /// # Shapes
    ///
    /// - media: `[batch, seq, context_dim]`
    /// - hidden: of the media, `[batch, seq]`
    /// - output: `[batch, latents, dim]`
    ///
    /// # Panics
    ///
    /// If media and mask disagree on batch or sequence.
    pub fn forward(&self, media: Tensor<3>, hidden: Option<&Mask>) -> Tensor<3> {
        let media = match hidden {
            Some(mask) => mask.zeroed(media),
            None => media,
        };
        let media = match &self.projection {
            Some(projection) => projection.forward(media),
            None => media,
        };
        let [batch, _, _] = media.dims();
        let [latents, dim] = self.latents.val().dims();
        let start = self.latents.val().unsqueeze::<3>().expand([batch, latents, dim]);
        self.norm.forward(self.layers.iter().fold(start, |z, layer| layer.forward(z, media.clone(), hidden)))
    }
}

impl PerceiverLayer {
    /// # Shapes
    ///
    /// - latents, output: `[batch, latents, dim]`
    /// - media: `[batch, seq, dim]`
    /// - hidden: of the media, `[batch, seq]`
    pub fn forward(&self, latents: Tensor<3>, media: Tensor<3>, hidden: Option<&Mask>) -> Tensor<3> {
        let asking = self.latents_norm.forward(latents.clone());
        let media = self.media_norm.forward(media);
        let [_, own, _] = latents.dims();
        let hidden = hidden.filter(|mask| mask.hides_any());
        let (answering, hidden) = match self.keys_with_latents {
            true => {
                let hidden = hidden.map(|mask| mask.followed_by_kept(own));
                (Tensor::cat(vec![media, asking.clone()], 1), hidden)
            }
            false => (media, hidden.map(Mask::hidden)),
        };
        let hidden = hidden.map(|hidden| hidden.unsqueeze_dims::<4>(&[1, 2]));
        let latents = latents + self.attention.forward(asking, answering, hidden, None);
        let normed = self.mlp_norm.forward(latents.clone());
        latents + self.mlp.forward(normed)
    }
}
