//! Cross-modal attention per token: each token asks its own modalities which of them to lean on.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: keys and values are the same token seen by each modality, so streams must be aligned token by token (the
//! words of a document). With `h_m` the projected modality m, `s = Σ h_m` over the present ones and heads of width d:
//! `a_m = softmax_m(q(s)·k(h_m)/√d)`, `out = norm(s + o(Σ a_m v(h_m)))`. An absent modality has weight exactly zero
//! and adds nothing to `s`.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{LayerNorm, Linear, Modality, Tokens, normal};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::present::shares;
use crate::{ConfigError, Fused, Fusion, Stream};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenAttentionConfig {
    /// Each modality with the width of its tokens.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the fused tokens.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct TokenAttention {
    /// One projection a modality, to the common width.
    pub projections: Vec<Linear>,
    /// What marks each modality, `[modality, dim]`.
    pub marks: Param<Tensor<2>>,
    /// Query of the summed token.
    pub query: Linear,
    /// Key of each modality's token.
    pub key: Linear,
    /// Value of each modality's token.
    pub value: Linear,
    /// Mixed heads to the residual.
    pub output: Linear,
    /// Norm of the result.
    pub norm: LayerNorm,
    heads: usize,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl TokenAttentionConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> TokenAttention {
        let square = || Linear::new(self.dim, self.dim, device);
        TokenAttention {
            projections: self.streams.iter().map(|(_, width)| Linear::new(*width, self.dim, device)).collect(),
            marks: normal([self.streams.len(), self.dim], 0.02, device),
            query: square(),
            key: square(),
            value: square(),
            output: square(),
            norm: LayerNorm::new(self.dim, 1e-5, device),
            heads: self.heads,
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl TokenAttention {
    /// The projected, marked tokens of one stream, zero in the rows that lack it.
    fn project(&self, index: usize, stream: &Stream, present: &Tensor<3>) -> Tensor<3> {
        let mark = self.marks.val().narrow(0, index, 1).unsqueeze_dim::<3>(0);
        // Filled rather than multiplied by zero, which would keep NaN; padding too, whose NaN would reach the weights' gradients.
        let fill = |tokens: Tensor<3>| {
            let absent = present.clone().equal_scalar(0.0).expand(tokens.dims());
            let hidden = stream.tokens.mask().hidden().unsqueeze_dim::<3>(2).expand(tokens.dims());
            tokens.mask_fill(absent.bool_or(hidden), 0.0)
        };
        fill(self.projections[index].forward(fill(stream.tokens.padded())) + mark)
    }

    /// Scaled scores of one modality, `[batch, seq, heads, 1]`.
    fn scores(&self, query: &Tensor<3>, key: Tensor<3>) -> Tensor<4> {
        let [batch, seq, dim] = key.dims();
        let head_dim = dim / self.heads;
        (query.clone() * key).reshape([batch, seq, self.heads, head_dim]).sum_dim(3) / (head_dim as f64).sqrt()
    }
}

impl Fusion for TokenAttention {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.marks.val().dims();
        dim
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let first = streams.first().expect("a fusion needs at least one stream");
        let [batch, seq, _] = first.tokens.dims();
        let device = first.tokens.padded().device();
        let places: Vec<usize> = streams
            .iter()
            .map(|stream| {
                self.modalities.iter().position(|m| *m == stream.modality).expect("a stream of a known modality")
            })
            .collect();
        let dtype = first.tokens.padded().dtype();
        let present: Vec<Tensor<3>> =
            streams.iter().map(|stream| presence(&stream.present, &device).cast(dtype)).collect();
        let projected: Vec<Tensor<3>> =
            (0..streams.len()).map(|i| self.project(places[i], &streams[i], &present[i])).collect();
        let sum = projected.iter().skip(1).fold(projected[0].clone(), |sum, next| sum + next.clone());

        let query = self.query.forward(sum.clone());
        let scores = projected.iter().map(|tokens| self.scores(&query, self.key.forward(tokens.clone())));
        let scores = Tensor::cat(scores.collect(), 3); // [batch, seq, heads, streams]
        let absent = Tensor::cat(present.iter().map(|present| present.clone().equal_scalar(0.0)).collect(), 2);
        let absent = absent.unsqueeze_dim::<4>(1).expand(scores.dims());
        let weights = shares(scores, absent, 3);
        let mixed = projected.iter().enumerate().map(|(index, tokens)| {
            let value = self.value.forward(tokens.clone());
            let [_, _, dim] = value.dims();
            let value = value.reshape([batch, seq, self.heads, dim / self.heads]);
            (value * weights.clone().narrow(3, index, 1)).reshape([batch, seq, dim])
        });
        let mixed = mixed.reduce(|sum, next| sum + next).expect("at least one stream");
        let fused = self.norm.forward_added(self.output.forward(mixed), sum);
        let tokens = Tokens::new(fused, first.tokens.mask().clone());
        let weights = self.leaned_on(weights, &places, &first.tokens);
        Fused { embedding: tokens.mean(), tokens: Some(tokens), weights: Some(weights), cost: None }
    }
}

impl TokenAttention {
    /// Attention averaged over heads and kept tokens, spread to the fusion's own order of modalities.
    fn leaned_on(&self, weights: Tensor<4>, places: &[usize], tokens: &Tokens) -> Tensor<2> {
        let [batch, seq, _, streams] = weights.dims();
        let per_token = weights.mean_dim(2).reshape([batch, seq, streams]);
        let given = Tokens::new(per_token, tokens.mask().clone()).mean(); // [batch, streams]
        let zero = given.clone().narrow(1, 0, 1) * 0.0;
        let column = |m| match places.iter().position(|place| *place == m) {
            Some(index) => given.clone().narrow(1, index, 1),
            None => zero.clone(),
        };
        Tensor::cat((0..self.modalities.len()).map(column).collect(), 1)
    }
}

/// 1 for the rows that have a modality, 0 for those that lack it, `[batch, 1, 1]`.
fn presence(present: &[bool], device: &Device) -> Tensor<3> {
    let values: Vec<f32> = present.iter().map(|&p| f32::from(u8::from(p))).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape([present.len(), 1, 1])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use florin_nn::Mask;

    use super::*;

    fn stream(modality: Modality, dim: usize, present: [bool; 2], device: &Device) -> Stream {
        let values = Tensor::random([2, 3, dim], Distribution::Normal(0.0, 1.0), device);
        let tokens = Tokens::new(values, Mask::from_lengths(&[3, 2], 3, device));
        Stream { modality, tokens, present: present.to_vec() }
    }

    fn fusion(device: &Device) -> TokenAttention {
        let streams = vec![(Modality::Text, 6), (Modality::Image, 4)];
        TokenAttentionConfig { streams, dim: 8, heads: 2 }.init(device)
    }

    #[test]
    fn an_absent_modality_weighs_nothing_and_changes_nothing() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 3);
        let fusion = fusion(&device);
        let text = stream(Modality::Text, 6, [true, true], &device);
        let image = stream(Modality::Image, 4, [true, false], &device);
        let both = fusion.fuse(&[text.clone(), image]);
        let alone = fusion.fuse(&[text]);
        let weights = both.weights.expect("this kind defines weights").into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(weights[3], 0.0, "the absent image must weigh exactly zero");
        assert!((weights[0] + weights[1] - 1.0).abs() < 1e-6 && (weights[2] - 1.0).abs() < 1e-6);
        let gap = (both.embedding - alone.embedding).abs().into_data().try_to_vec::<f32>().expect("f32");
        assert!(gap[8..].iter().all(|g| *g < 1e-6), "the row without the image must equal the row fused without it");
        assert!(gap[..8].iter().any(|g| *g > 1e-4), "the row with the image must differ");
    }
}
