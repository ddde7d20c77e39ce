//! Two modalities that read each other at once.
//!
//! Each stream's queries meet the other's keys and values, both as they were before the block:
//! `a' = norm(a + attention(q = a, k = v = b)); a'' = norm(a' + mlp(a'))`, and the same for b with a.
//!
//! Paper: Lu et al. 2019 (ViLBERT), <https://arxiv.org/abs/1908.02265>
//! Difference: keys and values are projected straight to the asking stream's width, where the released code has a third width for
//! both; a row of which the other stream is empty reads nothing.

use burn::prelude::*;
use florin_backend::Activation;

use crate::attention::cross_modal::without_empty;
use crate::attention::multi_head::{Attention, AttentionConfig};
use crate::config_error::{ConfigError, none_is_zero};
use crate::{LayerNorm, Mask, Mlp};

/// Sizes of the block, each of the first and of the second stream.
#[derive(Clone, Debug)]
pub struct CoAttentionBlockConfig {
    /// Widths.
    pub dims: [usize; 2],
    /// Attention heads; each divides its stream's width.
    pub heads: [usize; 2],
    /// Widths inside the perceptrons.
    pub hidden: [usize; 2],
}

/// Two streams that read each other.
#[derive(Module, Debug)]
pub struct CoAttentionBlock {
    /// The first stream, which reads the second.
    pub first: CoAttentionStream,
    /// The second stream, which reads the first.
    pub second: CoAttentionStream,
}

/// One stream of the block.
#[derive(Module, Debug)]
pub struct CoAttentionStream {
    /// This stream asks, the other answers.
    pub attention: Attention,
    /// Norm of the attention's branch.
    pub attention_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
}

/// Both streams after the block.
#[derive(Clone, Debug)]
pub struct CoAttended {
    /// `[batch, first seq, first width]`
    pub first: Tensor<3>,
    /// `[batch, second seq, second width]`
    pub second: Tensor<3>,
}

impl CoAttentionBlockConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        (0..2).try_for_each(|stream| {
            self.attention(stream).validate()?;
            none_is_zero(&[("co-attention: hidden", self.hidden[stream])])
        })
    }

    /// New weights, epsilons as in BERT.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> CoAttentionBlock {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        let stream = |index: usize| CoAttentionStream {
            attention: self.attention(index).init(device),
            attention_norm: LayerNorm::new(self.dims[index], 1e-12, device),
            mlp: Mlp::new(self.dims[index], self.hidden[index], Activation::Gelu, device),
            mlp_norm: LayerNorm::new(self.dims[index], 1e-12, device),
        };
        CoAttentionBlock { first: stream(0), second: stream(1) }
    }

    fn attention(&self, stream: usize) -> AttentionConfig {
        AttentionConfig::new(self.dims[stream], self.heads[stream]).with_context_dim(self.dims[1 - stream])
    }
}

impl CoAttentionBlock {
    /// # Shapes
    ///
    /// - first: `[batch, first seq, first width]`, its mask `[batch, first seq]`
    /// - second: `[batch, second seq, second width]`, its mask `[batch, second seq]`
    pub fn forward(
        &self,
        first: Tensor<3>,
        second: Tensor<3>,
        first_mask: Option<&Mask>,
        second_mask: Option<&Mask>,
    ) -> CoAttended {
        let zeroed = |x: Tensor<3>, mask: Option<&Mask>| match mask {
            Some(mask) => mask.zeroed(x),
            None => x,
        };
        let (first, second) = (zeroed(first, first_mask), zeroed(second, second_mask));
        CoAttended {
            first: self.first.forward(first.clone(), second.clone(), second_mask),
            second: self.second.forward(second, first, first_mask),
        }
    }
}

impl CoAttentionStream {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, width]`
    /// - other: `[batch, other seq, other width]`, its mask `[batch, other seq]`
    pub fn forward(&self, x: Tensor<3>, other: Tensor<3>, mask: Option<&Mask>) -> Tensor<3> {
        let read = self.attention.forward(x.clone(), other, mask.and_then(Mask::for_attention), None);
        let x = self.attention_norm.forward_added(without_empty(read, mask), x);
        let mixed = self.mlp.forward(x.clone());
        self.mlp_norm.forward_added(mixed, x)
    }
}
