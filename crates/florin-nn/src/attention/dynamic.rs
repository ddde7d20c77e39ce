//! Self-attention that decides from its input how far to look, how sharply, and with which heads.
//!
//! For each token x and head: span `z = S·σ(v·x + b)`, sharpness `β = softplus(w·x + c) / ln 2` (one where the product is zero; the
//! inverse of a temperature), gate `g = σ(u·x + e)`. With distance d, the mask `m(d) = clamp((R + z − d) / R, 0, 1)` falls softly
//! from one to zero, so that the span has a gradient. Weights are `m·exp(β s) / Σ m·exp(β s)`, or `sparsemax(β s + ln m)`; the
//! head gives `g · Σ weight · value`. A hidden key, or one beyond the span, weighs exactly zero.
//!
//! The span's mask multiplies weights after their exponential, which is the same as its logarithm added to the scores before: so the fused attention
//! serves, with that as its bias. Sparsemax is no softmax, and its scores are a tensor. Either costs O(seq²) memory a head.
//!
//! Paper: Sukhbaatar et al. 2019 (adaptive span, its dynamic form), <https://arxiv.org/abs/1905.07799>
//! Difference: both sides of the query are looked at unless `causal`; sharpness and gates are ours, and so is the sparse variant.

use burn::prelude::*;
use burn::tensor::activation::{sigmoid, softplus};
use florin_backend::{AttentionOptions, attention, log_reach, product, softmax, sparsemax};

use crate::attention::multi_head::{join_heads, split_heads};
use crate::config_error::{ConfigError, none_is_zero};
use crate::{AttentionConfig, Linear, Mask};

/// How scores become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// Every key within the span weighs something.
    Softmax,
    /// Most keys weigh exactly zero.
    Sparsemax,
}

/// Sizes of the attention.
#[derive(Clone, Debug)]
pub struct DynamicAttentionConfig {
    /// Width.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// The longest span S, in places.
    pub span: f64,
    /// Places R over which the mask falls from one to zero; 32 in the paper.
    pub ramp: f64,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How scores become weights.
    pub weighing: Weighing,
}

/// Attention that decides from its input.
#[derive(Module, Debug)]
pub struct DynamicAttention {
    /// `[dim, dim]`
    pub query: Linear,
    /// `[dim, dim]`
    pub key: Linear,
    /// `[dim, dim]`
    pub value: Linear,
    /// `[dim, dim]`
    pub output: Linear,
    /// How far each head looks, `[dim, heads]`.
    pub span: Linear,
    /// How sharply, `[dim, heads]`.
    pub sharpness: Linear,
    /// How much of the head is let through, `[dim, heads]`.
    pub gate: Linear,
    heads: usize,
    longest: f64,
    ramp: f64,
    causal: bool,
    #[module(skip)]
    weighing: Weighing,
}

/// What each token decided for each head, all `[batch, heads, seq, 1]`.
#[derive(Clone, Debug)]
pub struct Decisions {
    /// How many places away the mask begins to fall, from 0 to the longest span. Its mean is what the paper adds to the loss.
    pub span: Tensor<4>,
    /// Factor of the scores, above zero.
    pub sharpness: Tensor<4>,
    /// Factor of the head's result, from 0 to 1.
    pub gate: Tensor<4>,
}

impl DynamicAttentionConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        AttentionConfig::new(self.dim, self.heads).validate()?;
        none_is_zero(&[("dynamic attention: heads", self.heads)])?;
        for (name, value) in [("dynamic attention: span", self.span), ("dynamic attention: ramp", self.ramp)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ConfigError::Range { name, range: "above 0", found: value.to_string() });
            }
        }
        Ok(())
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> DynamicAttention {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        let square = || Linear::new(self.dim, self.dim, device);
        let decision = || Linear::new(self.dim, self.heads, device);
        DynamicAttention {
            query: square(),
            key: square(),
            value: square(),
            output: square(),
            span: decision(),
            sharpness: decision(),
            gate: decision(),
            heads: self.heads,
            longest: self.span,
            ramp: self.ramp,
            causal: self.causal,
            weighing: self.weighing,
        }
    }
}

impl DynamicAttention {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    /// - mask: padding of the keys, `[batch, seq]`
    pub fn forward(&self, x: Tensor<3>, mask: Option<&Mask>) -> Tensor<3> {
        let x = match mask {
            Some(mask) => mask.zeroed(x),
            None => x,
        };
        let decisions = self.decisions(x.clone());
        let value = split_heads(self.value.forward(x.clone()), self.heads);
        let mixed = match self.weighing {
            Weighing::Softmax => {
                let [query, key] = self.sharpened(x, &decisions);
                let reach = log_reach(decisions.span, self.ramp);
                let options = AttentionOptions { causal: self.causal, ..Default::default() };
                attention(query, key, value, mask.and_then(Mask::for_attention), Some(reach), options)
            }
            Weighing::Sparsemax => product(self.weigh(x, &decisions, mask), value),
        };
        self.output.forward(join_heads(mixed * decisions.gate))
    }

    /// Span, sharpness and gate of every token and head.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    pub fn decisions(&self, x: Tensor<3>) -> Decisions {
        let each = |linear: &Linear| linear.forward(x.clone()).swap_dims(1, 2).unsqueeze_dim::<4>(3);
        Decisions {
            span: sigmoid(each(&self.span)) * self.longest,
            sharpness: softplus(each(&self.sharpness), 1.0) / std::f64::consts::LN_2,
            gate: sigmoid(each(&self.gate)),
        }
    }

    /// The weights of [`forward`](Self::forward), before the gates.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    /// - output: `[batch, heads, queries, keys]`
    pub fn weights(&self, x: Tensor<3>, mask: Option<&Mask>) -> Tensor<4> {
        let x = match mask {
            Some(mask) => mask.zeroed(x),
            None => x,
        };
        self.weigh(x.clone(), &self.decisions(x), mask)
    }

    /// Queries, each times its sharpness, and keys.
    fn sharpened(&self, x: Tensor<3>, decisions: &Decisions) -> [Tensor<4>; 2] {
        let query = split_heads(self.query.forward(x.clone()), self.heads) * decisions.sharpness.clone();
        [query, split_heads(self.key.forward(x), self.heads)]
    }

    fn weigh(&self, x: Tensor<3>, decisions: &Decisions, mask: Option<&Mask>) -> Tensor<4> {
        let [query, key] = self.sharpened(x, decisions);
        let [batch, heads, seq, head_dim] = query.dims();
        let shape = [batch, heads, seq, seq];
        let scores = product(query / (head_dim as f64).sqrt(), key.swap_dims(2, 3));
        let scores = scores + log_reach(decisions.span.clone(), self.ramp);
        let hidden = mask.and_then(Mask::for_attention).map(|hidden| hidden.expand(shape));
        let later = self.causal.then(|| later_keys(seq, &scores.device()).expand(shape));
        let hidden = match (hidden, later) {
            (Some(hidden), Some(later)) => Some(hidden.bool_or(later)),
            (hidden, later) => hidden.or(later),
        };
        match (self.weighing, hidden) {
            (Weighing::Sparsemax, hidden) => sparsemax(scores, hidden),
            (Weighing::Softmax, None) => softmax(scores, 3),
            // A row of hidden keys alone would be no number.
            (Weighing::Softmax, Some(hidden)) => {
                softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0)
            }
        }
    }
}

fn later_keys(seq: usize, device: &Device) -> Tensor<4, Bool> {
    let marks: Vec<bool> = (0..seq * seq).map(|place| place % seq > place / seq).collect();
    Tensor::from_data(TensorData::new(marks, [1, 1, seq, seq]), device)
}
