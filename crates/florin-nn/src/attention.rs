//! Multi-head attention over one sequence or from one sequence to another.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: a query that may see nothing gives zero, not the mean of everything.

use burn::prelude::*;
use florin_backend::{AttentionOptions, attention};

use crate::Linear;

/// Sizes of an attention layer.
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of the queries and of the output.
    pub dim: usize,
    /// Width of the keys' and values' input; `dim` for self-attention.
    pub context_dim: usize,
    /// Number of heads; divides `dim`.
    pub heads: usize,
}

/// Multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[dim, dim]`
    pub query: Linear,
    /// `[context_dim, dim]`
    pub key: Linear,
    /// `[context_dim, dim]`
    pub value: Linear,
    /// `[dim, dim]`
    pub output: Linear,
    heads: usize,
}

impl AttentionConfig {
    /// Attention of a sequence to itself.
    pub fn new(dim: usize, heads: usize) -> Self {
        Self { dim, context_dim: dim, heads }
    }

    /// Attention to a sequence of another width.
    pub fn with_context_dim(mut self, context_dim: usize) -> Self {
        self.context_dim = context_dim;
        self
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If `heads` does not divide `dim`; configurations that a user writes are validated before.
    pub fn init(&self, device: &Device) -> Attention {
        assert!(
            self.heads > 0 && self.dim.is_multiple_of(self.heads),
            "heads ({}) must divide dim ({})",
            self.heads,
            self.dim
        );
        Attention {
            query: Linear::new(self.dim, self.dim, device),
            key: Linear::new(self.context_dim, self.dim, device),
            value: Linear::new(self.context_dim, self.dim, device),
            output: Linear::new(self.dim, self.dim, device),
            heads: self.heads,
        }
    }
}

impl Attention {
    /// # Shapes
    ///
    /// - x: `[batch, queries, dim]`
    /// - context: `[batch, keys, context_dim]`
    /// - hidden: broadcastable to `[batch, heads, queries, keys]`, true where a key must not be seen
    /// - bias: broadcastable to the same, added to the scaled scores
    /// - output: `[batch, queries, dim]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        hidden: Option<Tensor<4, Bool>>,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let query = self.split_heads(self.query.forward(x));
        let key = self.split_heads(self.key.forward(context.clone()));
        let value = self.split_heads(self.value.forward(context));
        let mixed = attention(query, key, value, hidden, bias, AttentionOptions::default());
        let [batch, heads, queries, head_dim] = mixed.dims();
        let joined = mixed.swap_dims(1, 2).reshape([batch, queries, heads * head_dim]);
        self.output.forward(joined)
    }

    /// `[batch, seq, dim]` to `[batch, heads, seq, head_dim]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, dim] = x.dims();
        x.reshape([batch, seq, self.heads, dim / self.heads]).swap_dims(1, 2)
    }
}
