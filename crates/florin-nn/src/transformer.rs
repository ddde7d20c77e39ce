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
