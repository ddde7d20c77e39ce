//! One modality reads another: a pre-norm block whose queries come from the target and whose keys and values from the source.
//!
//! `x += attention(q = norm(x), k = v = norm(source)); x += mlp(norm(x))`. The source's padding is hidden; a row without any
//! source skips the attention, so that it equals one that never had the block's first half.
//!
//! Paper: Tsai et al. 2019 (MulT), <https://arxiv.org/abs/1906.00295>
//! Difference: source and target may have different widths; a row without a source is defined.

use burn::prelude::*;
use florin_backend::Activation;

use crate::attention::multi_head::{Attention, AttentionConfig};
use crate::config_error::{ConfigError, none_is_zero};
use crate::{LayerNorm, Mask, Mlp};

/// Sizes of the block.
#[derive(Clone, Debug)]
pub struct CrossModalBlockConfig {
    /// Width of the target.
    pub dim: usize,
    /// Width of the source.
    pub source_dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Width inside the perceptron.
    pub hidden: usize,
}

/// A target that reads a source.
#[derive(Module, Debug)]
pub struct CrossModalBlock {
    /// Norm of the target before it asks.
    pub attention_norm: LayerNorm,
    /// Norm of the source.
    pub source_norm: LayerNorm,
    /// The target asks, the source answers.
    pub attention: Attention,
    /// Norm before the perceptron.
    pub mlp_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
}

impl CrossModalBlockConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.attention().validate()?;
        none_is_zero(&[("cross-modal block: hidden", self.hidden)])
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> CrossModalBlock {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        CrossModalBlock {
            attention_norm: LayerNorm::new(self.dim, 1e-5, device),
            source_norm: LayerNorm::new(self.source_dim, 1e-5, device),
            attention: self.attention().init(device),
            mlp_norm: LayerNorm::new(self.dim, 1e-5, device),
            mlp: Mlp::new(self.dim, self.hidden, Activation::Gelu, device),
        }
    }

    fn attention(&self) -> AttentionConfig {
        AttentionConfig::new(self.dim, self.heads).with_context_dim(self.source_dim)
    }
}

impl CrossModalBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    /// - source: `[batch, source seq, source_dim]`
    /// - mask: of the source, `[batch, source seq]`
    pub fn forward(&self, x: Tensor<3>, source: Tensor<3>, mask: Option<&Mask>) -> Tensor<3> {
        let source = match mask {
            Some(mask) => mask.zeroed(source),
            None => source,
        };
        let asking = self.attention_norm.forward(x.clone());
        let hidden = mask.and_then(Mask::for_attention);
        let read = self.attention.forward(asking, self.source_norm.forward(source), hidden, None);
        let x = x + without_empty(read, mask);
        let normed = self.mlp_norm.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}

/// What was read, zero in rows whose mask keeps nothing: the bias of the output projection alone is not something read.
pub(crate) fn without_empty(read: Tensor<3>, mask: Option<&Mask>) -> Tensor<3> {
    let Some(mask) = mask.filter(|mask| mask.lengths().contains(&0)) else { return read };
    let empty: Vec<bool> = mask.lengths().iter().map(|&length| length == 0).collect();
    let empty = Tensor::<3, Bool>::from_data(TensorData::new(empty, [mask.lengths().len(), 1, 1]), &read.device());
    let shape = read.dims();
    read.mask_fill(empty.expand(shape), 0.0)
}
