//! Layers, attention, transformer blocks and the types that every Florin model shares.
//!
//! A layer holds parameters and calls the operations of `florin-backend`; it never computes on its own, so that a
//! faster operation underneath serves every model at once. No encoder, no task, no file lives here.

mod attention;
mod batch_norm;
mod config_error;
mod embedding;
mod gru;
mod initialise;
mod linear;
mod mask;
mod mlp;
mod modality;
mod norm;
mod packed;
pub mod parameters;
mod relative_bias;
mod tokens;
mod transformer;
mod unpadding;

pub use attention::{
    Attention, AttentionBiases, AttentionCache, AttentionConfig, AttentionLevel, AttentionPooling, BottleneckLayer,
    BottleneckLayerConfig, CoAttended, CoAttentionBlock, CoAttentionBlockConfig, CoAttentionStream, Conditions,
    CrossModalBlock, CrossModalBlockConfig, Decisions, DynamicAttention, DynamicAttentionConfig, HierarchicalAttention,
    HierarchicalAttentionConfig, PerceiverLayer, PerceiverResampler, PerceiverResamplerConfig, Pooled, RelativeBias,
    RelativeBiasConfig, Rotary, Sides, SlidingWindow, Weighing, alibi_bias, alibi_slopes,
};
pub use batch_norm::{BatchNorm, Norm};
pub use config_error::ConfigError;
pub use embedding::Embedding;
pub use florin_backend::{Activation, PackedWeight, Pairing, WeightFormat, sparsemax};
pub use gru::Gru;
pub use initialise::{constant, normal, ones, unfilled, zeros};
pub use linear::Linear;
pub use mask::Mask;
pub use mlp::Mlp;
pub use modality::Modality;
pub use norm::LayerNorm;
pub use packed::{pack, pack_and_tell};
pub use relative_bias::{RelativeBias2d, log_bucket, past_log_bucket};
pub use tokens::{Encoded, Encoder, Tokens};
pub use transformer::{NormOrder, TransformerBlock, TransformerBlockConfig};
pub use unpadding::{Unpadding, through_blocks};
