//! The transformer block, in both orders of its norms: BERT normalises after each branch, ViT before.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: none; dropout is left to the model around it.

use burn::prelude::*;
use florin_backend::Activation;

use crate::{Attention, AttentionConfig, LayerNorm, Mlp};

/// Where the norms of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// `x + f(norm(x))`
    Pre,
    /// `norm(x + f(x))`
    Post,
}

/// Sizes and order of a block.
#[derive(Clone, Debug)]
pub struct TransformerBlockConfig {
    /// Width.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Width inside the perceptron.
    pub hidden: usize,
    /// Activation inside the perceptron.
    pub activation: Activation,
    /// Epsilon of the norms.
    pub epsilon: f64,
    /// Where the norms stand.
    pub order: NormOrder,
}

/// Self-attention and a perceptron, each with a residual and a norm.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Self-attention.
    pub attention: Attention,
    /// Norm of the attention branch.
    pub attention_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    #[module(skip)]
    order: NormOrder,
}

impl TransformerBlockConfig {
    /// New weights.
    pub fn init(&self, device: &Device) -> TransformerBlock {
        TransformerBlock {
            attention: AttentionConfig::new(self.dim, self.heads).init(device),
            attention_norm: LayerNorm::new(self.dim, self.epsilon, device),
            mlp: Mlp::new(self.dim, self.hidden, self.activation, device),
            mlp_norm: LayerNorm::new(self.dim, self.epsilon, device),
            order: self.order,
        }
    }
}

impl TransformerBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    /// - hidden: broadcastable to `[batch, heads, seq, seq]`, true where a key must not be seen
    /// - bias: broadcastable to the same, added to the scaled scores
    pub fn forward(&self, x: Tensor<3>, hidden: Option<Tensor<4, Bool>>, bias: Option<Tensor<4>>) -> Tensor<3> {
        match self.order {
            NormOrder::Pre => {
                let normed = self.attention_norm.forward(x.clone());
                let x = x + self.attention.forward(normed.clone(), normed, hidden, bias);
                let normed = self.mlp_norm.forward(x.clone());
                x + self.mlp.forward(normed)
            }
            NormOrder::Post => {
                let mixed = self.attention.forward(x.clone(), x.clone(), hidden, bias);
                let x = self.attention_norm.forward_added(mixed, x);
                let mixed = self.mlp.forward(x.clone());
                self.mlp_norm.forward_added(mixed, x)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    /// The largest mean of a row and the largest distance of its variance from one.
    fn distance_from_normal(x: Tensor<3>) -> f32 {
        let mean = x.clone().mean_dim(2).abs().max().into_scalar::<f32>();
        let variance = x.square().mean_dim(2);
        mean.max((variance - 1.0).abs().max().into_scalar::<f32>())
    }

    #[test]
    fn norms_that_stand_last_normalise_what_comes_out_and_those_that_stand_first_do_not() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 3);
        let x = Tensor::<3>::random([2, 5, 8], Distribution::Normal(2.0, 3.0), &device);
        let out = |order| {
            let (dim, heads, hidden, activation) = (8, 2, 16, Activation::Gelu);
            let block = TransformerBlockConfig { dim, heads, hidden, activation, epsilon: 1e-12, order }.init(&device);
            block.forward(x.clone(), None, None)
        };
        assert!(distance_from_normal(out(NormOrder::Post)) < 1e-4);
        let before = out(NormOrder::Pre);
        assert!(distance_from_normal(before.clone()) > 1.0);
        // Fresh weights are small, so that both branches add little to a residual that nothing has normalised.
        assert!((before - x.clone()).abs().max().into_scalar::<f32>() < 0.5);
    }
}
