//! Attention in three levels: within a segment, across segments, across time.
//!
//! A level lets its parts see each other (a transformer block, if asked for) and pools them by additive attention. Words make a
//! sentence and sentences a document; or tokens make a modality's vector, modalities a day's, and days a history's. Parts that
//! are absent are ignored: a segment without tokens, a step without segments; a row without anything gives zero.
//!
//! Paper: Yang et al. 2016 (HAN), <https://aclanthology.org/N16-1174>
//! Difference: three levels instead of two, transformer blocks (or none) where the paper has recurrent encoders.

use burn::prelude::*;
use florin_backend::without_hidden;

use crate::attention::pooling::AttentionPooling;
use crate::config_error::{ConfigError, none_is_zero};
use crate::{AttentionConfig, NormOrder, TransformerBlock, TransformerBlockConfig};

/// Sizes of all levels.
#[derive(Clone, Debug)]
pub struct HierarchicalAttentionConfig {
    /// Width of the vectors.
    pub dim: usize,
    /// Width inside the poolings.
    pub attention_dim: usize,
    /// Attention heads of each level's block, dividing `dim`; without them parts do not see each other before they are pooled.
    pub heads: Option<usize>,
}

/// Three levels of attention.
#[derive(Module, Debug)]
pub struct HierarchicalAttention {
    /// Tokens into a segment.
    pub within: AttentionLevel,
    /// Segments into a step.
    pub across: AttentionLevel,
    /// Steps into one vector.
    pub over_time: AttentionLevel,
}

/// One level: parts see each other, then become one.
#[derive(Module, Debug)]
pub struct AttentionLevel {
    /// Parts see each other.
    pub block: Option<TransformerBlock>,
    /// Parts become one.
    pub pooling: AttentionPooling,
}

/// What a level made of its parts.
#[derive(Clone, Debug)]
pub struct Pooled<const D: usize, const M: usize> {
    /// A vector for each whole, `[.., dim]`; zero where there was no part.
    pub vectors: Tensor<D>,
    /// True for each whole without any part.
    pub absent: Tensor<M, Bool>,
}

impl HierarchicalAttentionConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        AttentionConfig::new(self.dim, self.heads.unwrap_or(1)).validate()?;
        none_is_zero(&[("hierarchical attention: attention_dim", self.attention_dim)])
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> HierarchicalAttention {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        HierarchicalAttention { within: self.level(device), across: self.level(device), over_time: self.level(device) }
    }

    /// New weights of one level.
    pub fn level(&self, device: &Device) -> AttentionLevel {
        let block = |heads| TransformerBlockConfig::new(self.dim, heads, 4 * self.dim, 1e-5, NormOrder::Pre);
        AttentionLevel {
            block: self.heads.map(|heads| block(heads).init(device)),
            pooling: AttentionPooling::new(self.dim, self.attention_dim, device),
        }
    }
}

impl HierarchicalAttention {
    /// All levels, one after another.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, steps, segments, seq, dim]`
    /// - hidden: `[batch, steps, segments, seq]`, true where there is no token
    /// - output: `[batch, dim]`
    pub fn forward(&self, tokens: Tensor<5>, hidden: Tensor<4, Bool>) -> Tensor<2> {
        self.whole(self.steps(self.segments(tokens, hidden))).vectors
    }

    /// The first level: `[batch, steps, segments, seq, dim]` to `[batch, steps, segments, dim]`.
    pub fn segments(&self, tokens: Tensor<5>, hidden: Tensor<4, Bool>) -> Pooled<4, 3> {
        let [batch, steps, segments, seq, dim] = tokens.dims();
        let rows = batch * steps * segments;
        let pooled = self.within.pool(tokens.reshape([rows, seq, dim]), hidden.reshape([rows, seq]));
        Pooled {
            vectors: pooled.vectors.reshape([batch, steps, segments, dim]),
            absent: pooled.absent.reshape([batch, steps, segments]),
        }
    }

    /// The second level: `[batch, steps, segments, dim]` to `[batch, steps, dim]`.
    pub fn steps(&self, segments: Pooled<4, 3>) -> Pooled<3, 2> {
        let [batch, steps, count, dim] = segments.vectors.dims();
        let rows = batch * steps;
        let vectors = segments.vectors.reshape([rows, count, dim]);
        let pooled = self.across.pool(vectors, segments.absent.reshape([rows, count]));
        Pooled { vectors: pooled.vectors.reshape([batch, steps, dim]), absent: pooled.absent.reshape([batch, steps]) }
    }

    /// The third level: `[batch, steps, dim]` to `[batch, dim]`.
    pub fn whole(&self, steps: Pooled<3, 2>) -> Pooled<2, 1> {
        self.over_time.pool(steps.vectors, steps.absent)
    }
}

impl AttentionLevel {
    /// # Shapes
    ///
    /// - parts: `[batch, parts, dim]`
    /// - hidden: `[batch, parts]`, true where there is no part
    /// - output: `[batch, dim]`
    pub fn forward(&self, parts: Tensor<3>, hidden: Tensor<2, Bool>) -> Tensor<2> {
        let parts = self.seen(parts, &hidden);
        self.pooling.forward(parts, Some(hidden))
    }

    /// How much each part counts in [`forward`](Self::forward), `[batch, parts]`.
    pub fn weights(&self, parts: Tensor<3>, hidden: Tensor<2, Bool>) -> Tensor<2> {
        let parts = self.seen(parts, &hidden);
        self.pooling.weights(parts, Some(hidden))
    }

    fn pool(&self, parts: Tensor<3>, hidden: Tensor<2, Bool>) -> Pooled<2, 1> {
        let [batch, _, _] = parts.dims();
        let absent = hidden.clone().all_dim(1).reshape([batch]);
        Pooled { vectors: self.forward(parts, hidden), absent }
    }

    /// The parts after they have seen each other.
    fn seen(&self, parts: Tensor<3>, hidden: &Tensor<2, Bool>) -> Tensor<3> {
        let parts = without_hidden(parts, hidden.clone());
        match &self.block {
            Some(block) => block.forward(parts, Some(hidden.clone().unsqueeze_dims::<4>(&[1, 2])), None),
            None => parts,
        }
    }
}
