//! Early fusion: everything is put side by side before anything is understood, and one network reads it all.
//!
//! Concatenated tokens: `t_m = project_m(x_m) + mark_m (+ place)`, `z = norm(blocks([t_1; t_2; ..]))`, embedding the mean of `z`
//! over the kept tokens of the present modalities. Hidden tokens and those of an absent modality are keys that nobody sees, so that
//! absent is the same as removed.
//!
//! Concatenated inputs: `down(gelu(Σ_m W_m x̄_m + b))` with `x̄_m` the mean of a modality's kept tokens: the perceptron over the
//! vectors side by side, in which an absent modality's term is left out. A token of the anchor stands in it in place of the
//! anchor's mean.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: norms before each branch; the modality's mark is BERT's segment embedding.

use burn::prelude::*;
use florin_nn::{Activation, LayerNorm, Linear, Modality, TransformerBlock};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::cross_block::{EPSILON, hidden_width, self_block};
use crate::sequence::Sequence;
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream, StreamEmbedding};

/// What is put side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concatenation {
    /// Tokens, one after another, for a transformer.
    #[default]
    Tokens,
    /// Vectors, one beside another, for a perceptron.
    Inputs,
}

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyConfig {
    /// Each modality with the width of its tokens.
    pub streams: Vec<(Modality, usize)>,
    /// Width of what it gives.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Transformer blocks over the concatenated tokens.
    pub layers: usize,
    /// Whether tokens know their place in their stream.
    pub positions: bool,
    /// What is put side by side.
    pub concatenation: Concatenation,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Early {
    /// The one network.
    pub network: EarlyNetwork,
    dim: usize,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// The network of either concatenation.
#[derive(Module, Debug)]
pub enum EarlyNetwork {
    /// See [`Concatenation::Tokens`].
    Tokens(ConcatenatedTokens),
    /// See [`Concatenation::Inputs`].
    Inputs(ConcatenatedInputs),
}

/// One transformer over the tokens of all modalities.
#[derive(Module, Debug)]
pub struct ConcatenatedTokens {
    /// Streams to the common width.
    pub embedding: StreamEmbedding,
    /// Self-attention over all of them.
    pub blocks: Vec<TransformerBlock>,
    /// Norm of the result.
    pub norm: LayerNorm,
}

/// One perceptron over the vectors of all modalities.
#[derive(Module, Debug)]
pub struct ConcatenatedInputs {
    /// `[sum of widths, 4 · dim]`
    pub up: Linear,
    /// `[4 · dim, dim]`
    pub down: Linear,
    #[module(skip)]
    widths: Vec<usize>,
}

impl EarlyConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)?;
        if self.layers == 0 { Err(ConfigError::Zero("layers")) } else { Ok(()) }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Early {
        let network = match self.concatenation {
            Concatenation::Tokens => EarlyNetwork::Tokens(ConcatenatedTokens {
                embedding: StreamEmbedding::new(&self.streams, self.dim, self.positions, device),
                blocks: (0..self.layers).map(|_| self_block(self.dim, self.heads, Activation::Gelu, device)).collect(),
                norm: LayerNorm::new(self.dim, EPSILON, device),
            }),
            Concatenation::Inputs => {
                let widths: Vec<usize> = self.streams.iter().map(|(_, width)| *width).collect();
                EarlyNetwork::Inputs(ConcatenatedInputs {
                    up: Linear::new(widths.iter().sum(), hidden_width(self.dim), device),
                    down: Linear::new(hidden_width(self.dim), self.dim, device),
                    widths,
                })
            }
        };
        let modalities = self.streams.iter().map(|(modality, _)| *modality).collect();
        Early { network, dim: self.dim, modalities }
    }
}

impl Fusion for Early {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn works_on_tokens(&self) -> bool {
        matches!(self.network, EarlyNetwork::Tokens(_))
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        match &self.network {
            EarlyNetwork::Tokens(network) => network.fuse(&arranged),
            EarlyNetwork::Inputs(network) => network.fuse(&arranged),
        }
    }
}

impl ConcatenatedTokens {
    fn fuse(&self, arranged: &Arranged) -> Fused {
        let given = self.embedding.forward_all(arranged);
        let anchor = given[0].as_ref().map(Sequence::seq);
        let all = Sequence::joined(&given.into_iter().flatten().collect::<Vec<_>>());
        let hidden = all.hidden_keys();
        let x = self.blocks.iter().fold(all.values(), |x, block| block.forward(x, hidden.clone(), None));
        let fused = all.with(self.norm.forward(x));
        let tokens = anchor.map(|seq| fused.part(0, seq).into_tokens());
        Fused { embedding: fused.mean(), tokens, weights: None, cost: None }
    }
}

impl ConcatenatedInputs {
    fn fuse(&self, arranged: &Arranged) -> Fused {
        let given: Vec<Option<Sequence>> =
            arranged.streams.iter().map(|stream| stream.as_ref().map(Sequence::of)).collect();
        let kind = given.iter().flatten().next().expect("at least one stream").values().dtype();
        let vector = |(given, &width): (&Option<Sequence>, &usize)| match given {
            Some(sequence) => sequence.mean(),
            None => Tensor::zeros([arranged.batch, width], (&arranged.device, kind)),
        };
        let vectors: Vec<Tensor<2>> = given.iter().zip(&self.widths).map(vector).collect();
        let tokens = given[0].as_ref().map(|anchor| {
            let seq = anchor.seq();
            let beside = vectors[1..].iter().map(|vector| vector.clone().unsqueeze_dim::<3>(1).repeat_dim(1, seq));
            let inputs = std::iter::once(anchor.values()).chain(beside).collect();
            anchor.with(self.perceptron(Tensor::cat(inputs, 2))).into_tokens()
        });
        Fused { embedding: self.perceptron(Tensor::cat(vectors, 1)), tokens, weights: None, cost: None }
    }

    fn perceptron<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.down.forward(self.up.forward_activated(x, Activation::Gelu))
    }
}
