//! SigLIP's pooling of patches: one learned query attends to all of them, and a perceptron refines what it found.
//!
//! Paper: Zhai et al. 2022 (the head is that of "Scaling Vision Transformers"), <https://arxiv.org/abs/2106.04560>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{Activation, Attention, AttentionConfig, LayerNorm, Mask, Mlp, normal};

/// The head.
#[derive(Module, Debug)]
pub struct ProbePooling {
    /// The query, `[1, 1, dim]`.
    pub probe: Param<Tensor<3>>,
    /// From the query to the patches.
    pub attention: Attention,
    /// Norm before the perceptron.
    pub norm: LayerNorm,
    /// The perceptron, with a residual.
    pub mlp: Mlp,
}

impl ProbePooling {
    /// New weights.
    ///
    /// # Panics
    ///
    /// If `heads` does not divide `dim`.
    pub fn new(dim: usize, heads: usize, hidden: usize, activation: Activation, epsilon: f64, device: &Device) -> Self {
        Self {
            probe: normal([1, 1, dim], 0.02, device),
            attention: AttentionConfig::new(dim, heads).init(device),
            norm: LayerNorm::new(dim, epsilon, device),
            mlp: Mlp::new(dim, hidden, activation, device),
        }
    }

    /// # Shapes
    ///
    /// - tokens: `[batch, tokens, dim]`
    /// - output: `[batch, dim]`
    pub fn forward(&self, tokens: Tensor<3>, mask: Option<&Mask>) -> Tensor<2> {
        let [batch, ..] = tokens.dims();
        let probe = self.probe.val().repeat_dim(0, batch);
        let found = self.attention.forward(probe, tokens, mask.and_then(Mask::for_attention), None);
        let refined = self.mlp.forward(self.norm.forward(found.clone()));
        (found + refined).squeeze_dim(1)
    }
}
