//! Many vectors into one, by how much each answers a learned question.
//!
//! `u = tanh(W h + b)`, `a = softmax(u · c)` over the kept vectors, `s = Σ a h`, with a learned context vector c. A row that keeps
//! nothing gives zero.
//!
//! Paper: Yang et al. 2016 (HAN), <https://aclanthology.org/N16-1174>
//! Difference: padding is hidden, and an empty row is defined.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::{Activation, AttentionOptions, attention, softmax, without_hidden};

use crate::Linear;
use crate::initialise::normal;

/// Attention of one learned query.
#[derive(Module, Debug)]
pub struct AttentionPooling {
    /// `[dim, attention dim]`
    pub projection: Linear,
    /// What is looked for, `[attention dim]`.
    pub context: Param<Tensor<1>>,
}

impl AttentionPooling {
    /// New weights.
    pub fn new(dim: usize, attention_dim: usize, device: &Device) -> Self {
        Self { projection: Linear::new(dim, attention_dim, device), context: normal([attention_dim], 0.02, device) }
    }

    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    /// - hidden: `[batch, seq]`, true for what must not be read, whatever stands there
    /// - output: `[batch, dim]`
    pub fn forward(&self, x: Tensor<3>, hidden: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let x = seen(x, hidden.as_ref());
        let [batch, seq, dim] = x.dims();
        let key = self.keys(x.clone()).unsqueeze_dim::<4>(1);
        let value: Tensor<4> = x.unsqueeze_dim(1);
        let [_, _, _, width] = key.dims();
        let query = self.context.val().reshape([1, 1, 1, width]).expand([batch, 1, 1, width]);
        let hidden = hidden.map(|hidden| hidden.reshape([batch, 1, 1, seq]));
        // The context vector is not divided by √width: the paper's scores are plain products.
        let options = AttentionOptions { scale: Some(1.0), ..Default::default() };
        attention(query, key, value, hidden, None, options).reshape([batch, dim])
    }

    /// How much each vector counts in [`forward`](Self::forward): zero where hidden, summing to one where anything is kept.
    /// Computed on its own, so that a model that asks for no weights keeps none.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`, hidden and output: `[batch, seq]`
    pub fn weights(&self, x: Tensor<3>, hidden: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let x = seen(x, hidden.as_ref());
        let [batch, seq, _] = x.dims();
        let scores = (self.keys(x) * self.context.val().unsqueeze()).sum_dim(2).reshape([batch, seq]);
        match hidden {
            Some(hidden) => softmax(scores.mask_fill(hidden.clone(), -1e30), 1).mask_fill(hidden, 0.0),
            None => softmax(scores, 1),
        }
    }

    fn keys(&self, x: Tensor<3>) -> Tensor<3> {
        self.projection.forward_activated(x, Activation::Tanh)
    }
}

fn seen(x: Tensor<3>, hidden: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    match hidden {
        Some(hidden) => without_hidden(x, hidden.clone()),
        None => x,
    }
}
