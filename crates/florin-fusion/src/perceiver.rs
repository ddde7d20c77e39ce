//! Perceiver: a fixed number of learned latents reads the tokens of all modalities, however many there are.
//!
//! With `t_m = project_m(x_m) + mark_m (+ place)` and `T = [t_1; t_2; ..]`, each layer is a cross-attention block from the latents to
//! `T` and a block of self-attention among the latents. The embedding is the mean of the normed latents; the anchor's tokens are
//! read out by a cross-attention block from `t_anchor` to those. Cost is linear in the number of tokens.
//!
//! Absent: its tokens are keys that nobody sees, so that absent is the same as removed. A row that has nothing gives
//! what the latents are on their own.
//!
//! Paper: Jaegle et al. 2021 (Perceiver IO), <https://arxiv.org/abs/2107.14795>
//! Difference: as in the first Perceiver (<https://arxiv.org/abs/2103.03206>) every layer reads the inputs again, here with weights
//! of its own; a query of the output is the token itself, and its block has a residual.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{Activation, LayerNorm, Modality, TransformerBlock, normal};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::cross_block::{CrossBlock, EPSILON, self_block};
use crate::sequence::Sequence;
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream, StreamEmbedding};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerceiverConfig {
    /// Each modality with the width of its tokens.
    pub streams: Vec<(Modality, usize)>,
    /// Width of what it gives.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Latents.
    pub latents: usize,
    /// How often they read the tokens.
    pub layers: usize,
    /// Whether tokens know their place in their stream.
    pub positions: bool,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Perceiver {
    /// Streams to the common width.
    pub embedding: StreamEmbedding,
    /// `[latents, dim]`
    pub latents: Param<Tensor<2>>,
    /// Reading, and thinking about it.
    pub layers: Vec<PerceiverLayer>,
    /// Norm of the latents.
    pub norm: LayerNorm,
    /// From the anchor's tokens to the latents.
    pub readout: CrossBlock,
    /// Norm of the tokens read out.
    pub readout_norm: LayerNorm,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// The latents read all tokens and then each other.
#[derive(Module, Debug)]
pub struct PerceiverLayer {
    /// From the latents to the tokens.
    pub read: CrossBlock,
    /// Among the latents.
    pub think: TransformerBlock,
}

impl PerceiverConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)?;
        let sizes = [("latents", self.latents), ("layers", self.layers)];
        sizes.into_iter().find(|(_, size)| *size == 0).map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Perceiver {
        let cross = || CrossBlock::new(self.dim, self.heads, Activation::Gelu, device);
        let layer =
            || PerceiverLayer { read: cross(), think: self_block(self.dim, self.heads, Activation::Gelu, device) };
        Perceiver {
            embedding: StreamEmbedding::new(&self.streams, self.dim, self.positions, device),
            latents: normal([self.latents, self.dim], 0.02, device),
            layers: (0..self.layers).map(|_| layer()).collect(),
            norm: LayerNorm::new(self.dim, EPSILON, device),
            readout: cross(),
            readout_norm: LayerNorm::new(self.dim, EPSILON, device),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Fusion for Perceiver {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.latents.val().dims();
        dim
    }

    fn works_on_tokens(&self) -> bool {
        true
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let given = self.embedding.forward_all(&arranged);
        let all = Sequence::joined(&given.iter().flatten().cloned().collect::<Vec<_>>());
        let start = Sequence::learned(self.latents.val(), &vec![true; arranged.batch]);
        let x = self.layers.iter().fold(start.values(), |x, layer| {
            layer.think.forward(layer.read.forward(x, Some(&all)), None, None) // [batch, latents, dim]
        });
        let latents = start.with(self.norm.forward(x));
        let tokens = given[0].as_ref().map(|anchor| {
            let read = self.readout.forward(anchor.values(), Some(&latents));
            anchor.with(self.readout_norm.forward(read)).into_tokens()
        });
        Fused { embedding: latents.mean(), tokens, weights: None, cost: None }
    }
}
