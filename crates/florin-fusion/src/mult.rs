//! MulT: every modality is read in the light of every other, one cross-modal transformer an ordered pair.
//!
//! With `z_m = project_m(x_m) + place`, for target α and source β, `y = z_α` and in each layer
//! `y += attention(norm(y), norm(z_β))`, `y += mlp(norm'(y))`: keys and values are the source's sequence as it came in, at every
//! layer, never what another transformer made of it. The results for one target, `norm(y)` side by side, go through a transformer of
//! self-attention; its last kept token is the target's summary. All summaries `s` side by side give
//! `embedding = out(s + W₂ relu(W₁ s))`; the anchor's sequence, projected, gives the tokens.
//!
//! Absent: an absent source adds exactly nothing to its pair, which then passes the target's own tokens on; an absent target's
//! summary is zero.
//!
//! Paper: Tsai et al. 2019 (MulT), <https://arxiv.org/abs/1906.00295>
//! Difference: as in the authors' code, norms stand before each branch with a plain residual, and every transformer ends in a norm;
//! the temporal convolution has a kernel of one. Unlike it, no step is hidden from earlier ones, inputs are not scaled by √dim,
//! and the self-attention does not add places again. Any number of modalities from two on.

use burn::prelude::*;
use florin_backend::Activation;
use florin_nn::{LayerNorm, Linear, Modality, TransformerBlock};
use serde::{Deserialize, Serialize};

use crate::config::{validate_heads, validate_streams};
use crate::cross_block::{CrossBlock, EPSILON, self_block};
use crate::sequence::Sequence;
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream, StreamEmbedding};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultConfig {
    /// Each modality with the width of its tokens; at least two.
    pub streams: Vec<(Modality, usize)>,
    /// Width of each pair's transformer and of what the fusion gives.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Layers of each pair's transformer.
    pub layers: usize,
    /// Layers of each target's self-attention; the authors' code has at least three.
    pub memory_layers: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Mult {
    /// Streams to the common width.
    pub embedding: StreamEmbedding,
    /// `pairs[target][i]`: from the target to its i-th source, the other modalities in order.
    pub pairs: Vec<Vec<PairTransformer>>,
    /// Self-attention of each target over what its pairs found.
    pub memories: Vec<MemoryTransformer>,
    /// Into the residual branch of all summaries.
    pub residual_up: Linear,
    /// Out of it.
    pub residual_down: Linear,
    /// Summaries to the embedding.
    pub output: Linear,
    /// The anchor's sequence to the tokens.
    pub token_output: Linear,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// A target's tokens ask a source's, layer by layer.
#[derive(Module, Debug)]
pub struct PairTransformer {
    /// Each with one norm for both sides.
    pub layers: Vec<CrossBlock>,
    /// Norm of the result.
    pub norm: LayerNorm,
}

/// Self-attention over what all pairs of a target found.
#[derive(Module, Debug)]
pub struct MemoryTransformer {
    /// Of width `(modalities - 1) · dim`.
    pub layers: Vec<TransformerBlock>,
    /// Norm of the result.
    pub norm: LayerNorm,
}

impl MultConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        validate_heads(self.heads, self.dim)?;
        if self.streams.len() < 2 {
            return Err(ConfigError::TooFew { kind: "mult", least: 2, found: self.streams.len() });
        }
        let sizes = [("layers", self.layers), ("memory_layers", self.memory_layers)];
        sizes.into_iter().find(|(_, size)| *size == 0).map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Mult {
        let modalities = self.streams.len();
        let sources = modalities - 1;
        let summaries = modalities * sources * self.dim;
        Mult {
            embedding: StreamEmbedding::new(&self.streams, self.dim, true, device).without_marks(),
            pairs: (0..modalities).map(|_| (0..sources).map(|_| self.pair(device)).collect()).collect(),
            memories: (0..modalities).map(|_| self.memory(sources * self.dim, device)).collect(),
            residual_up: Linear::new(summaries, summaries, device),
            residual_down: Linear::new(summaries, summaries, device),
            output: Linear::new(summaries, self.dim, device),
            token_output: Linear::new(sources * self.dim, self.dim, device),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }

    fn pair(&self, device: &Device) -> PairTransformer {
        let layer = || CrossBlock::new(self.dim, self.heads, Activation::Relu, device).with_one_norm();
        PairTransformer {
            layers: (0..self.layers).map(|_| layer()).collect(),
            norm: LayerNorm::new(self.dim, EPSILON, device),
        }
    }

    fn memory(&self, width: usize, device: &Device) -> MemoryTransformer {
        let layer = || self_block(width, self.heads, Activation::Relu, device);
        MemoryTransformer {
            layers: (0..self.memory_layers).map(|_| layer()).collect(),
            norm: LayerNorm::new(width, EPSILON, device),
        }
    }
}

impl Fusion for Mult {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        let [_, dim] = self.output.weight.val().dims();
        dim
    }

    fn works_on_tokens(&self) -> bool {
        true
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let given = self.embedding.forward_all(&arranged);
        let read: Vec<Option<Sequence>> = (0..given.len()).map(|target| self.read(&given, target)).collect();
        let kind = self.output.weight.val().dtype();
        let width = (given.len() - 1) * self.dim();
        let summary = |read: &Option<Sequence>| match read {
            Some(read) => read.last(),
            None => Tensor::zeros([arranged.batch, width], (&arranged.device, kind)),
        };
        let summaries = Tensor::cat(read.iter().map(summary).collect(), 1);
        let residual =
            self.residual_down.forward(self.residual_up.forward_activated(summaries.clone(), Activation::Relu));
        let tokens = read[0].as_ref().map(|read| read.with(self.token_output.forward(read.values())).into_tokens());
        Fused { embedding: self.output.forward(summaries + residual), tokens, weights: None, cost: None }
    }
}

impl Mult {
    /// A target in the light of all others, `[batch, target's seq, (modalities - 1) · dim]`.
    fn read(&self, given: &[Option<Sequence>], target: usize) -> Option<Sequence> {
        let own = given[target].as_ref()?;
        let sources =
            given.iter().enumerate().filter(|(source, _)| *source != target).map(|(_, source)| source.as_ref());
        let found = self.pairs[target].iter().zip(sources).map(|(pair, source)| pair.forward(own.values(), source));
        let found = own.with(Tensor::cat(found.collect(), 2));
        Some(found.with(self.memories[target].forward(&found)))
    }
}

impl PairTransformer {
    /// # Shapes
    ///
    /// - x, output: `[batch, target's seq, dim]`
    /// - source: `[batch, its own seq, dim]`, as it came in
    fn forward(&self, x: Tensor<3>, source: Option<&Sequence>) -> Tensor<3> {
        self.norm.forward(self.layers.iter().fold(x, |x, layer| layer.forward(x, source)))
    }
}

impl MemoryTransformer {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, (modalities - 1) · dim]`
    fn forward(&self, x: &Sequence) -> Tensor<3> {
        let hidden = x.hidden_keys();
        self.norm.forward(self.layers.iter().fold(x.values(), |x, layer| layer.forward(x, hidden.clone(), None)))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::Distribution;
    use florin_nn::{Mask, Tokens};

    use super::*;

    const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Audio, Modality::Image];

    fn fusion(device: &Device) -> Mult {
        florin_backend::seed(device, 6);
        let streams = MODALITIES.map(|modality| (modality, 3)).to_vec();
        MultConfig { streams, dim: 4, heads: 2, layers: 2, memory_layers: 1 }.init(device).map(&mut Noise)
    }

    /// Noise in every parameter, so that none can hide.
    struct Noise;

    impl ModuleMapper for Noise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| x.clone() + Tensor::random(x.dims(), Distribution::Normal(0.0, 0.3), &x.device()))
        }
    }

    fn streams(device: &Device) -> [Stream; 3] {
        MODALITIES.map(|modality| another(modality, device))
    }

    fn another(modality: Modality, device: &Device) -> Stream {
        let values = Tensor::random([1, 3, 3], Distribution::Normal(0.0, 1.0), device);
        Stream::tokens(modality, Tokens::new(values, Mask::all_kept(1, 3, device)))
    }

    fn tokens(fusion: &Mult, streams: &[Stream]) -> Vec<f32> {
        let tokens = fusion.fuse(streams).tokens.expect("the anchor is given").padded();
        tokens.into_data().try_to_vec::<f32>().expect("f32")
    }

    #[test]
    fn the_first_pair_of_a_target_asks_the_first_other_modality() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut fusion = fusion(&device);
        let [text, audio, image] = streams(&device);
        for layer in &mut fusion.pairs[0][0].layers {
            layer.attention.output = Linear::new(4, 4, &device);
            layer.attention.output.weight = Param::from_tensor(Tensor::zeros([4, 4], &device));
        }
        let found = tokens(&fusion, &[text.clone(), audio.clone(), image.clone()]);
        let other = another(Modality::Audio, &device);
        assert_eq!(tokens(&fusion, &[text.clone(), other, image]), found, "text no longer asks audio");
        let other = another(Modality::Image, &device);
        assert_ne!(tokens(&fusion, &[text, audio, other]), found, "but it does ask the image");
    }

    #[test]
    fn a_source_is_read_as_it_came_in() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut fusion = fusion(&device);
        let streams = streams(&device);
        let found = tokens(&fusion, &streams);
        for modality in 1..3 {
            fusion.pairs[modality] = fusion.pairs[modality].clone().map(&mut Noise);
            fusion.memories[modality] = fusion.memories[modality].clone().map(&mut Noise);
        }
        assert_eq!(tokens(&fusion, &streams), found, "what others make of the sources is not what text reads");
    }

    #[test]
    fn a_pair_reads_its_source_in_every_layer() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let fusion = fusion(&device);
        let [text, audio, _] = streams(&device).map(|stream| Sequence::of(&stream));
        let lift = |x: &Sequence| x.with(Tensor::cat(vec![x.values(), x.values().narrow(2, 0, 1)], 2)); // [1, 3, 4]
        let (text, audio) = (lift(&text), lift(&audio));
        let pair = &fusion.pairs[0][0];
        let first = pair.layers[0].forward(text.values(), Some(&audio));
        let expected = pair.norm.forward(pair.layers[1].forward(first, Some(&audio)));
        let gap = (pair.forward(text.values(), Some(&audio)) - expected).abs().max().into_scalar::<f32>();
        assert!(gap < 1e-6, "the second layer reads something else than the source: {gap}");
    }
}
