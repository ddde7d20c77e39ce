//! Fusion of several modalities behind one trait.
//!
//! One file a kind. Every kind accepts any subset of its modalities and says what an absent one means.

mod token_attention;

use burn::prelude::*;
use florin_nn::{Modality, Tokens};

pub use token_attention::{TokenAttention, TokenAttentionConfig};

/// One modality of a batch, as a fusion takes it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Which modality.
    pub modality: Modality,
    /// Its tokens.
    pub tokens: Tokens,
    /// Whether each row of the batch has it.
    pub present: Vec<bool>,
}

/// What a fusion gives back.
#[derive(Clone, Debug)]
pub struct Fused {
    /// A vector a row, `[batch, dim]`.
    pub embedding: Tensor<2>,
    /// A vector a token, for the kinds that work token by token.
    pub tokens: Option<Tokens>,
    /// How much each modality was leaned on, `[batch, modality]` in the fusion's order of modalities: zero for an absent
    /// one, summing to one over the present.
    pub weights: Option<Tensor<2>>,
}

/// Several modalities into one.
pub trait Fusion {
    /// The modalities it was built for, in the order of [`Fused::weights`].
    fn modalities(&self) -> &[Modality];

    /// Fuses a batch; a modality that is not among the streams is absent from every row.
    fn fuse(&self, streams: &[Stream]) -> Fused;
}

/// A fusion that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Attention splits its width evenly among heads.
    #[error("fusion: heads ({heads}) must divide dim ({dim})")]
    Heads {
        /// Attention heads asked for.
        heads: usize,
        /// Width asked for.
        dim: usize,
    },
    /// There is nothing to fuse.
    #[error("fusion: at least one modality is needed, found none")]
    NoModality,
    /// A modality is named twice.
    #[error("fusion: modality {0} is listed twice")]
    Repeated(&'static str),
}
