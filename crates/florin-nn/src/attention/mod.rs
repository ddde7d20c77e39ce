//! Attention of every kind, one idea a file, all on the one operation [`florin_backend::attention`] but for the sparse form of
//! `dynamic`, which needs the scores.
//!
//! `multi_head` holds the projections and heads that the others build on, `rotary`, `alibi` and `relative` say where tokens stand,
//! `window` limits how far they see. `cross_modal` and `co_attention` read other modalities, `perceiver` and `bottleneck` squeeze
//! many tokens through a few, `pooling` and `hierarchical` make many vectors one.

mod cache;
mod multi_head;

mod alibi;
mod relative;
mod rotary;
mod window;

mod co_attention;
mod cross_modal;

mod bottleneck;
mod perceiver;

mod hierarchical;
mod pooling;

mod dynamic;

pub use alibi::{alibi_bias, alibi_slopes};
pub use bottleneck::{BottleneckLayer, BottleneckLayerConfig};
pub use cache::AttentionCache;
pub use co_attention::{CoAttended, CoAttentionBlock, CoAttentionBlockConfig, CoAttentionStream};
pub use cross_modal::{CrossModalBlock, CrossModalBlockConfig};
pub use dynamic::{Decisions, DynamicAttention, DynamicAttentionConfig, Weighing};
pub use hierarchical::{AttentionLevel, HierarchicalAttention, HierarchicalAttentionConfig, Pooled};
pub use multi_head::{Attention, AttentionBiases, AttentionConfig, Conditions};
pub use perceiver::{PerceiverLayer, PerceiverResampler, PerceiverResamplerConfig};
pub use pooling::AttentionPooling;
pub use relative::{RelativeBias, RelativeBiasConfig, Sides};
pub use rotary::Rotary;
pub use window::SlidingWindow;

#[cfg(test)]
mod tests;
