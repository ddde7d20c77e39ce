//! Fusion of several modalities behind one trait.
//!
//! One file a kind. Every kind accepts any subset of its modalities and says what an absent one means.

mod adaptive_hierarchical;
mod config;
mod dynamic;
mod dynamic_branch;
mod each_token;
mod gated;
mod late;
mod low_rank;
mod modality_dropout;
mod present;
#[cfg(test)]
mod properties;
mod stream;
mod tensor;
mod token_attention;

use florin_nn::Modality;

pub use adaptive_hierarchical::{AdaptiveHierarchical, AdaptiveHierarchicalConfig};
pub use config::{AnyFusion, ConfigError, FusionConfig};
pub use dynamic::{Chosen, Dynamic, DynamicConfig};
pub use dynamic_branch::{Branch, BranchConfig, Strategy};
pub use each_token::fuse_each_token;
pub use gated::{Gated, GatedConfig};
pub use late::{Late, LateCombination, LateConfig};
pub use low_rank::{LowRank, LowRankConfig};
pub use modality_dropout::ModalityDropout;
pub use stream::{Fused, Stream};
pub use tensor::{MOST_ENTRIES, TensorConfig, TensorFusion};
pub use token_attention::{TokenAttention, TokenAttentionConfig};

/// Several modalities into one.
pub trait Fusion {
    /// The modalities it was built for, in the order of [`Fused::weights`]; the first is the anchor, whose tokens
    /// [`Fused::tokens`] follow.
    fn modalities(&self) -> &[Modality];

    /// Width of the vectors it gives.
    fn dim(&self) -> usize;

    /// Fuses a batch; a modality that is not among the streams is absent from every row.
    ///
    /// # Panics
    ///
    /// If no stream is given, or one of a modality that the fusion was not built for, or one twice, or batches differ.
    fn fuse(&self, streams: &[Stream]) -> Fused;
}
