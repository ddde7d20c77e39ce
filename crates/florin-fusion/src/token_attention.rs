//! Cross-modal attention per token: each token asks its own modalities which of them to lean on.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: keys and values are the same token seen by each modality, so streams must be aligned token by token (the
//! words of a document). With `h_m` the projected modality m, `s = Σ h_m` over the present ones and heads of width d:
//! `a_m = softmax_m(q(s)·k(h_m)/√d)`, `out = norm(s + o(Σ a_m v(h_m)))`. An absent modality has weight exactly zero
//! and adds nothing to `s`; a row that has none has zero weights and keeps no token.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{LayerNorm, Linear, Modality, normal};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::present::shares;
use crate::sequence::{Sequence, without};
use crate::stream::Arranged;
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

impl Fusion for TokenAttention {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.marks.val().dims();
        dim
    }

    fn works_on_tokens(&self) -> bool {
        true
    }

    /// Tokens are there whichever stream is given, since all are aligned; a row that has no modality keeps none of them.
    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let given: Vec<Given> = (0..self.modalities.len()).filter_map(|place| self.given(&arranged, place)).collect();
        let whole = aligned(&given);
        let projected = || given.iter().map(|given| given.tokens.clone());
        let sum = projected().reduce(|sum, next| sum + next).expect("at least one stream");

        let query = self.query.forward(sum.clone());
        let scores = projected().map(|tokens| self.scores(&query, self.key.forward(tokens))).collect();
        let weights = shares(Tensor::cat(scores, 3), absences(&given, &arranged.device), 3); // [batch, seq, heads, streams]
        let mixed = projected().enumerate().map(|(index, tokens)| {
            let value = self.by_head(self.value.forward(tokens));
            let [batch, seq, heads, head_dim] = value.dims();
            (value * weights.clone().narrow(3, index, 1)).reshape([batch, seq, heads * head_dim])
        });
        let mixed = mixed.reduce(|sum, next| sum + next).expect("at least one stream");
        let fused = whole.with(self.norm.forward_added(self.output.forward(mixed), sum));
        let weights = self.leaned_on(weights, &given, &whole);
        Fused { embedding: fused.mean(), tokens: Some(fused.into_tokens()), weights: Some(weights), cost: None }
    }
}

/// One modality that is given.
struct Given {
    /// Which it is, in the fusion's order.
    place: usize,
    /// Its tokens as they came.
    came: Sequence,
    /// Projected and marked, zero in the rows that lack it, `[batch, seq, dim]`.
    tokens: Tensor<3>,
    /// Whether each row has it.
    present: Vec<bool>,
}

impl TokenAttention {
    fn given(&self, arranged: &Arranged, place: usize) -> Option<Given> {
        let stream = arranged.streams[place].as_ref()?;
        let came = Sequence::of(stream);
        let mark = self.marks.val().narrow(0, place, 1).unsqueeze_dim::<3>(0);
        let tokens = self.projections[place].forward(came.values()) + mark;
        let present = stream.present.clone();
        Some(Given { place, came, tokens: without(tokens, &present), present })
    }

    /// Scaled scores of one modality, `[batch, seq, heads, 1]`.
    fn scores(&self, query: &Tensor<3>, key: Tensor<3>) -> Tensor<4> {
        let scores = self.by_head(query.clone() * key);
        let [_, _, _, head_dim] = scores.dims();
        scores.sum_dim(3) / (head_dim as f64).sqrt()
    }

    /// `[batch, seq, dim]` to `[batch, seq, heads, head_dim]`.
    fn by_head(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, dim] = x.dims();
        x.reshape([batch, seq, self.heads, dim / self.heads])
    }

    /// Attention averaged over heads and kept tokens, spread to the fusion's own order of modalities.
    fn leaned_on(&self, weights: Tensor<4>, given: &[Given], whole: &Sequence) -> Tensor<2> {
        let [batch, seq, _, streams] = weights.dims();
        let leaned = whole.with(weights.mean_dim(2).reshape([batch, seq, streams])).mean(); // [batch, streams]
        let column = |place| match given.iter().position(|given| given.place == place) {
            Some(index) => leaned.clone().narrow(1, index, 1),
            None => Tensor::zeros([batch, 1], (&leaned.device(), leaned.dtype())),
        };
        Tensor::cat((0..self.modalities.len()).map(column).collect(), 1)
    }
}

/// The positions that any present modality keeps: where streams are aligned, those of all of them.
fn aligned(given: &[Given]) -> Sequence {
    let parts: Vec<&Sequence> = given.iter().map(|given| &given.came).collect();
    Sequence::kept_in_any(&parts)
}

/// True where a row lacks a stream, `[batch, 1, 1, streams]`.
fn absences(given: &[Given], device: &Device) -> Tensor<4, Bool> {
    let batch = given[0].present.len();
    let marks: Vec<bool> = (0..batch).flat_map(|row| given.iter().map(move |given| !given.present[row])).collect();
    Tensor::from_data(TensorData::new(marks, [batch, 1, 1, given.len()]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use florin_nn::{Mask, Tokens};

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
