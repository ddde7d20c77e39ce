//! Attention bottlenecks: modalities exchange what they know through a few tokens and nothing else.
//!
//! Each modality has transformer blocks of its own. The first `fusion_layer` layers see one modality alone. From then on a modality's
//! block reads its tokens and the bottleneck tokens together, `[z_m; b_m] = block_m([z_m; b])`, and the bottlenecks of the next layer
//! are the mean over the present modalities, `b = mean_m b_m`. Cost is that of separate encoders, not of one over all tokens.
//! Tokens are `norm(z_anchor)`; the embedding is the mean over present modalities of the mean of `norm(z_m)`.
//!
//! Absent: not in the mean, so that absent is the same as removed. What one modality writes another reads in the next layer,
//! so that at least two layers must share the bottlenecks.
//!
//! Paper: Nagrani et al. 2021 (MBT), <https://arxiv.org/abs/2107.00135>
//! Difference: means over kept tokens instead of class tokens, and the mean is of vectors instead of the classifier's scores.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{BottleneckLayer, BottleneckLayerConfig, LayerNorm, Mask, Modality, normal};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::cross_block::{EPSILON, hidden_width};
use crate::sequence::{Sequence, without};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream, StreamEmbedding};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BottleneckConfig {
    /// Each modality with the width of its tokens.
    pub streams: Vec<(Modality, usize)>,
    /// Width of what it gives.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Bottleneck tokens; the paper's four.
    pub bottlenecks: usize,
    /// Layers of each modality.
    pub layers: usize,
    /// The first layer that shares the bottlenecks, counted from zero.
    pub fusion_layer: usize,
    /// Whether tokens know their place in their stream.
    pub positions: bool,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// Streams to the common width.
    pub embedding: StreamEmbedding,
    /// The bottleneck tokens at the start, `[bottlenecks, dim]`.
    pub bottlenecks: Param<Tensor<2>>,
    /// A block a modality in each; the first ones do not exchange anything.
    pub layers: Vec<BottleneckLayer>,
    /// Norm of the result.
    pub norm: LayerNorm,
    fusion_layer: usize,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl BottleneckConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)?;
        if self.bottlenecks == 0 {
            return Err(ConfigError::Zero("bottlenecks"));
        }
        let (fusion_layer, layers) = (self.fusion_layer, self.layers);
        if layers.saturating_sub(fusion_layer) < 2 {
            return Err(ConfigError::FusionLayer { fusion_layer, layers });
        }
        Ok(())
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Bottleneck {
        let (dim, heads, hidden) = (self.dim, self.heads, hidden_width(self.dim));
        let layer = BottleneckLayerConfig { dim, heads, hidden, modalities: self.streams.len(), epsilon: EPSILON };
        Bottleneck {
            embedding: StreamEmbedding::new(&self.streams, self.dim, self.positions, device),
            bottlenecks: normal([self.bottlenecks, self.dim], 0.02, device),
            layers: (0..self.layers).map(|_| layer.init(device)).collect(),
            norm: LayerNorm::new(self.dim, EPSILON, device),
            fusion_layer: self.fusion_layer,
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Fusion for Bottleneck {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.bottlenecks.val().dims();
        dim
    }

    fn works_on_tokens(&self) -> bool {
        true
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let mut given = self.embedding.forward_all(&arranged);
        let (alone, shared) = self.layers.split_at(self.fusion_layer);
        for layer in alone {
            for (block, sequence) in layer.blocks.iter().zip(&mut given) {
                *sequence = sequence.take().map(|x| x.with(block.forward(x.values(), x.hidden_keys(), None)));
            }
        }
        self.exchange(shared, &mut given, arranged.batch);
        let given: Vec<_> = given.iter().map(|x| x.as_ref().map(|x| x.with(self.norm.forward(x.values())))).collect();
        let means: Vec<_> = given.iter().flatten().map(|x| (x.mean().unsqueeze_dim(1), x.rows())).collect();
        let embedding = mean_of_present(&means).squeeze_dim(1);
        let tokens = given.into_iter().next().flatten().map(Sequence::into_tokens);
        Fused { embedding, tokens, weights: None, cost: None }
    }
}

impl Bottleneck {
    /// The layers in which every modality reads its own tokens with the bottlenecks, and the next ones what all made of them.
    fn exchange(&self, shared: &[BottleneckLayer], given: &mut [Option<Sequence>], batch: usize) {
        let learned = self.bottlenecks.val().unsqueeze_dim::<3>(0);
        let [_, count, dim] = learned.dims();
        let mut bottlenecks = learned.expand([batch, count, dim]);
        // What no row has is one hidden token.
        let nothing = Sequence::learned(Tensor::zeros([1, dim], &bottlenecks.device()), &vec![false; batch]);
        let masks: Vec<Mask> = given.iter().map(|x| x.as_ref().unwrap_or(&nothing).mask()).collect();
        for layer in shared {
            let streams = given.iter().map(|x| x.as_ref().unwrap_or(&nothing).values()).collect();
            let (written, mean) = layer.forward(streams, &masks, bottlenecks);
            bottlenecks = mean;
            for (sequence, values) in given.iter_mut().zip(written) {
                *sequence = sequence.take().map(|x| x.with(values));
            }
        }
    }
}

/// The mean over the modalities that each row has, `[batch, seq, dim]`; zero in a row that has none.
fn mean_of_present(parts: &[(Tensor<3>, Vec<bool>)]) -> Tensor<3> {
    let (first, rows) = &parts[0];
    let present = |row: usize| parts.iter().filter(|(_, rows)| rows[row]).count();
    let counts: Vec<f32> = (0..rows.len()).map(|row| present(row).max(1) as f32).collect();
    let counts = Tensor::<3>::from_data(TensorData::new(counts, [rows.len(), 1, 1]), &first.device());
    let sum = parts.iter().map(|(values, rows)| without(values.clone(), rows)).reduce(|sum, next| sum + next);
    sum.expect("at least one stream") / counts.cast(first.dtype())
}
