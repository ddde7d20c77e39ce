//! Cross-modal attention: the anchor's tokens ask the tokens of every other modality, layer by layer.
//!
//! With `t_m = project_m(x_m) + mark_m (+ place)`, `x = t_anchor`, and one weight a modality and row,
//! `w = softmax_m(u · mean(t_m) + c)` over the present modalities, the anchor among them, each layer is
//! `x += Σ_{m ≠ anchor} w_m · attention_m(norm(x), norm_m(t_m))`, then `x += mlp(norm(x))`; at the end tokens are `norm(x)` and the
//! embedding is their mean. What the softmax gives the anchor is what the others do not get to add.
//!
//! An absent source adds exactly nothing and weighs zero. A row without the anchor asks with one learned token in its place.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: norms before each branch; several sources beside each other; the weights among them are ours.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{Activation, Attention, AttentionConfig, LayerNorm, Linear, Mlp, Modality, normal};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::cross_block::{EPSILON, hidden_width};
use crate::present::shares;
use crate::sequence::{Sequence, attend};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream, StreamEmbedding};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossAttentionConfig {
    /// Each modality with the width of its tokens; the first asks the others.
    pub streams: Vec<(Modality, usize)>,
    /// Width of what it gives.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// How often the anchor asks.
    pub layers: usize,
    /// Whether tokens know their place in their stream.
    pub positions: bool,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Streams to the common width.
    pub embedding: StreamEmbedding,
    /// What asks in a row that lacks the anchor, `[1, dim]`.
    pub stand_in: Param<Tensor<2>>,
    /// Score of a modality from the mean of its tokens.
    pub score: Linear,
    /// The anchor asks once a layer.
    pub layers: Vec<CrossAttentionLayer>,
    /// Norm of the result.
    pub norm: LayerNorm,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// Questions to every source, and a perceptron.
#[derive(Module, Debug)]
pub struct CrossAttentionLayer {
    /// Norm of the tokens that ask.
    pub norm: LayerNorm,
    /// The other modalities in order.
    pub sources: Vec<SourceAttention>,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
}

/// Attention to one source.
#[derive(Module, Debug)]
pub struct SourceAttention {
    /// Norm of the source's tokens.
    pub norm: LayerNorm,
    /// From the anchor to the source.
    pub attention: Attention,
}

impl CrossAttentionConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)?;
        if self.layers == 0 { Err(ConfigError::Zero("layers")) } else { Ok(()) }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> CrossAttention {
        CrossAttention {
            embedding: StreamEmbedding::new(&self.streams, self.dim, self.positions, device),
            stand_in: normal([1, self.dim], 0.02, device),
            score: Linear::new(self.dim, 1, device),
            layers: (0..self.layers).map(|_| self.layer(device)).collect(),
            norm: LayerNorm::new(self.dim, EPSILON, device),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }

    fn layer(&self, device: &Device) -> CrossAttentionLayer {
        let norm = || LayerNorm::new(self.dim, EPSILON, device);
        let source =
            || SourceAttention { norm: norm(), attention: AttentionConfig::new(self.dim, self.heads).init(device) };
        CrossAttentionLayer {
            norm: norm(),
            sources: self.streams.iter().skip(1).map(|_| source()).collect(),
            mlp_norm: norm(),
            mlp: Mlp::new(self.dim, hidden_width(self.dim), Activation::Gelu, device),
        }
    }
}

impl Fusion for CrossAttention {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.stand_in.val().dims();
        dim
    }

    fn works_on_tokens(&self) -> bool {
        true
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let given = self.embedding.forward_all(&arranged);
        let weights = self.weights(&given, arranged.batch, &arranged.device);
        let anchor = given[0].as_ref().map(Sequence::seq);
        let asking = self.with_stand_in(given[0].as_ref(), arranged.batch);
        let x = self.layers.iter().fold(asking.values(), |x, layer| layer.forward(x, &given[1..], &weights));
        let fused = asking.with(self.norm.forward(x));
        let tokens = anchor.map(|seq| fused.part(0, seq).into_tokens());
        Fused { embedding: fused.mean(), tokens, weights: Some(weights), cost: None }
    }
}

impl CrossAttention {
    /// The anchor's tokens, and the learned one in the rows that have none.
    fn with_stand_in(&self, anchor: Option<&Sequence>, batch: usize) -> Sequence {
        let missing = anchor.map_or(vec![true; batch], |anchor| anchor.rows().iter().map(|kept| !kept).collect());
        let stand_in = Sequence::learned(self.stand_in.val(), &missing);
        match anchor {
            Some(anchor) => Sequence::joined(&[anchor.clone(), stand_in]),
            None => stand_in,
        }
    }

    /// One weight a modality, `[batch, modality]`.
    fn weights(&self, given: &[Option<Sequence>], batch: usize, device: &Device) -> Tensor<2> {
        let kind = self.stand_in.val().dtype();
        let score = |given: &Option<Sequence>| match given {
            Some(sequence) => self.score.forward(sequence.mean()),
            None => Tensor::zeros([batch, 1], (device, kind)),
        };
        let absent = |given: &Option<Sequence>| given.as_ref().map_or(vec![false; batch], Sequence::rows);
        let rows: Vec<Vec<bool>> = given.iter().map(absent).collect();
        let absent: Vec<bool> = (0..batch).flat_map(|row| rows.iter().map(move |has| !has[row])).collect();
        let absent = Tensor::from_data(TensorData::new(absent, [batch, given.len()]), device);
        shares(Tensor::cat(given.iter().map(score).collect(), 1), absent, 1)
    }
}

impl CrossAttentionLayer {
    /// # Shapes
    ///
    /// - x, output: `[batch, queries, dim]`
    /// - sources: the other modalities, each `[batch, its own seq, dim]`
    /// - weights: `[batch, modality]`, the anchor's first
    fn forward(&self, x: Tensor<3>, sources: &[Option<Sequence>], weights: &Tensor<2>) -> Tensor<3> {
        let queries = self.norm.forward(x.clone());
        let mut x = x;
        for (index, (source, given)) in self.sources.iter().zip(sources).enumerate() {
            let Some(given) = given else { continue };
            let context = source.norm.forward(given.values());
            let found = attend(&source.attention, queries.clone(), context, given);
            x = x + found * weights.clone().narrow(1, index + 1, 1).unsqueeze_dim::<3>(2);
        }
        let normed = self.mlp_norm.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}
