//! Fusion of several modalities behind one trait.
//!
//! One file a kind. Every kind accepts any subset of its modalities and says what an absent one means.

mod adaptive_hierarchical;
mod bottleneck;
mod config;
mod cross_attention;
mod cross_block;
mod dynamic;
mod dynamic_branch;
mod each_token;
mod early;
mod gated;
mod late;
mod low_rank;
mod modality_dropout;
mod mult;
mod perceiver;
mod present;
#[cfg(test)]
mod properties;
mod sequence;
mod stream;
mod stream_embedding;
mod tensor;
mod token_attention;
#[cfg(test)]
mod token_kinds;

use florin_nn::Modality;

pub use adaptive_hierarchical::{AdaptiveHierarchical, AdaptiveHierarchicalConfig};
pub use bottleneck::{Bottleneck, BottleneckConfig};
pub use config::{AnyFusion, ConfigError, FusionConfig};
pub use cross_attention::{CrossAttention, CrossAttentionConfig, CrossAttentionLayer, SourceAttention};
pub use cross_block::CrossBlock;
pub use dynamic::{Chosen, Dynamic, DynamicConfig};
pub use dynamic_branch::{Branch, BranchConfig, Strategy};
pub use each_token::{fuse_aligned, fuse_each_token};
pub use early::{ConcatenatedInputs, ConcatenatedTokens, Concatenation, Early, EarlyConfig, EarlyNetwork};
pub use gated::{Gated, GatedConfig};
pub use late::{Late, LateCombination, LateConfig};
pub use low_rank::{LowRank, LowRankConfig};
pub use modality_dropout::ModalityDropout;
pub use mult::{MemoryTransformer, Mult, MultConfig, PairTransformer};
pub use perceiver::{Perceiver, PerceiverConfig, PerceiverLayer};
pub use stream::{Fused, Stream};
pub use stream_embedding::StreamEmbedding;
pub use tensor::{MOST_ENTRIES, TensorConfig, TensorFusion};
pub use token_attention::{TokenAttention, TokenAttentionConfig};

/// Several modalities into one.
pub trait Fusion {
    /// The modalities it was built for, in the order of [`Fused::weights`]; the first is the anchor, whose tokens
    /// [`Fused::tokens`] follow.
    fn modalities(&self) -> &[Modality];

    /// Width of the vectors it gives.
    fn dim(&self) -> usize;

    /// Whether it reads tokens as such: streams need not be aligned, and [`Fused::tokens`] follow the anchor's. The others fuse
    /// one vector a row, and tokens one by one through [`fuse_each_token`].
    fn works_on_tokens(&self) -> bool {
        false
    }

    /// Fuses a batch; a modality that is not among the streams is absent from every row.
    ///
    /// # Panics
    ///
    /// If no stream is given, or one of a modality that the fusion was not built for, or one twice, or batches differ.
    fn fuse(&self, streams: &[Stream]) -> Fused;
}
