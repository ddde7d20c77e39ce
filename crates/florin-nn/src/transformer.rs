//! The transformer block, in both orders of its norms: BERT normalises after each branch, ViT before.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: none; dropout is left to the model around it.
//! Paper: Touvron et al. 2021 (CaiT, layer scale), <https://arxiv.org/abs/2103.17239>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::Activation;

use crate::initialise::constant;
use crate::{Attention, AttentionBiases, AttentionConfig, Conditions, LayerNorm, Mlp};

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
    /// Which projections of the attention have biases.
    pub biases: AttentionBiases,
    /// Whether the perceptron is gated.
    pub gated: bool,
    /// What each branch is multiplied by at the start, number by number; 1e-5 in DINOv2, none in most.
    pub layer_scale: Option<f64>,
}

/// Self-attention and a perceptron, each with a residual and a norm.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Self-attention.
    pub attention: Attention,
    /// Norm of the attention branch.
    pub attention_norm: LayerNorm,
    /// What the attention branch is multiplied by, `[dim]`.
    pub attention_scale: Option<Param<Tensor<1>>>,
    /// The perceptron.
    pub mlp: Mlp,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    /// What the perceptron's branch is multiplied by, `[dim]`.
    pub mlp_scale: Option<Param<Tensor<1>>>,
    #[module(skip)]
    order: NormOrder,
}

impl TransformerBlockConfig {
    /// A block as most are: GELU, all biases, no gate and no layer scale.
    pub fn new(dim: usize, heads: usize, hidden: usize, epsilon: f64, order: NormOrder) -> Self {
        let (activation, biases) = (Activation::Gelu, AttentionBiases::ALL);
        Self { dim, heads, hidden, activation, epsilon, order, biases, gated: false, layer_scale: None }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> TransformerBlock {
        let scale = || self.layer_scale.map(|value| constant([self.dim], value, device));
        let mlp = if self.gated { Mlp::gated } else { Mlp::new };
        TransformerBlock {
            attention: AttentionConfig::new(self.dim, self.heads).with_biases(self.biases).init(device),
            attention_norm: LayerNorm::new(self.dim, self.epsilon, device),
            attention_scale: scale(),
            mlp: mlp(self.dim, self.hidden, self.activation, device),
            mlp_norm: LayerNorm::new(self.dim, self.epsilon, device),
            mlp_scale: scale(),
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
        self.forward_under(x, Conditions { hidden, bias, ..Default::default() })
    }

    /// With all conditions: causal, rotary positions, another scale.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    pub fn forward_under(&self, x: Tensor<3>, conditions: Conditions) -> Tensor<3> {
        match self.order {
            NormOrder::Pre => {
                let normed = self.attention_norm.forward(x.clone());
                let mixed = self.attention.forward_under(normed.clone(), normed, conditions);
                let x = x + scaled(mixed, self.attention_scale.as_ref());
                let normed = self.mlp_norm.forward(x.clone());
                x + scaled(self.mlp.forward(normed), self.mlp_scale.as_ref())
            }
            NormOrder::Post => {
                let mixed = self.attention.forward_under(x.clone(), x.clone(), conditions);
                let x = self.attention_norm.forward_added(scaled(mixed, self.attention_scale.as_ref()), x);
                let mixed = self.mlp.forward(x.clone());
                self.mlp_norm.forward_added(scaled(mixed, self.mlp_scale.as_ref()), x)
            }
        }
    }
}

fn scaled(x: Tensor<3>, scale: Option<&Param<Tensor<1>>>) -> Tensor<3> {
    match scale {
        Some(scale) => x * scale.val().unsqueeze(),
        None => x,
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
            let block = TransformerBlockConfig::new(8, 2, 16, 1e-12, order).init(&device);
            block.forward(x.clone(), None, None)
        };
        assert!(distance_from_normal(out(NormOrder::Post)) < 1e-4);
        let before = out(NormOrder::Pre);
        assert!(distance_from_normal(before.clone()) > 1.0);
        // Fresh weights are small, so that both branches add little to a residual that nothing has normalised.
        assert!((before - x.clone()).abs().max().into_scalar::<f32>() < 0.5);
    }

    #[test]
    fn a_branch_of_scale_zero_adds_nothing() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let x = Tensor::<3>::random([2, 5, 8], Distribution::Default, &device);
        let usual = TransformerBlockConfig::new(8, 2, 16, 1e-12, NormOrder::Pre);
        let block = TransformerBlockConfig { layer_scale: Some(0.0), ..usual }.init(&device);
        assert_eq!((block.forward(x.clone(), None, None) - x).abs().max().into_scalar::<f32>(), 0.0);
    }
}
