//! The blocks of the token-wise kinds: what every transformer block here is made of, and one that looks at another sequence.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: norms come before each branch, `x + a(norm(x), norm'(context))` and then `x + mlp(norm''(x))`; a row whose context
//! is absent gets nothing from it, not even a bias.

use burn::prelude::*;
use florin_nn::{
    Activation, Attention, AttentionConfig, LayerNorm, Mlp, NormOrder, TransformerBlock, TransformerBlockConfig,
};

use crate::sequence::{Sequence, attend};

/// Epsilon of every norm here.
pub(crate) const EPSILON: f64 = 1e-5;

/// Width inside the perceptron of a block, as in the paper.
pub(crate) fn hidden_width(dim: usize) -> usize {
    4 * dim
}

/// A block of self-attention.
pub(crate) fn self_block(dim: usize, heads: usize, activation: Activation, device: &Device) -> TransformerBlock {
    let (hidden, order) = (hidden_width(dim), NormOrder::Pre);
    TransformerBlockConfig { activation, ..TransformerBlockConfig::new(dim, heads, hidden, EPSILON, order) }
        .init(device)
}

/// Attention from one sequence to another and a perceptron, each with a residual and a norm before it.
#[derive(Module, Debug)]
pub struct CrossBlock {
    /// From the tokens to the context.
    pub attention: Attention,
    /// Norm of the tokens that ask; of the context too where it has none of its own.
    pub attention_norm: LayerNorm,
    /// Norm of the context.
    pub context_norm: Option<LayerNorm>,
    /// The perceptron.
    pub mlp: Mlp,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
}

impl CrossBlock {
    pub(crate) fn new(dim: usize, heads: usize, activation: Activation, device: &Device) -> Self {
        let norm = || LayerNorm::new(dim, EPSILON, device);
        Self {
            attention: AttentionConfig::new(dim, heads).init(device),
            attention_norm: norm(),
            context_norm: Some(norm()),
            mlp: Mlp::new(dim, hidden_width(dim), activation, device),
            mlp_norm: norm(),
        }
    }

    /// One norm for those that ask and those that are asked.
    pub(crate) fn with_one_norm(mut self) -> Self {
        self.context_norm = None;
        self
    }

    /// # Shapes
    ///
    /// - x, output: `[batch, queries, dim]`
    /// - context: `[batch, seq, dim]`; `None` where no row has it
    pub(crate) fn forward(&self, x: Tensor<3>, context: Option<&Sequence>) -> Tensor<3> {
        let x = match context {
            Some(context) => {
                let normed = self.context_norm.as_ref().unwrap_or(&self.attention_norm).forward(context.values());
                let queries = self.attention_norm.forward(x.clone());
                x + attend(&self.attention, queries, normed, context)
            }
            None => x,
        };
        let normed = self.mlp_norm.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}
