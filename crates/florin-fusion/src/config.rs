//! One enum of all kinds: what a configuration file names, and what a model holds that lets its user choose.

use burn::prelude::*;
use florin_nn::Modality;
use serde::{Deserialize, Serialize};

use crate::{Fused, Fusion, Stream, TokenAttention, TokenAttentionConfig};

/// A kind with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FusionConfig {
    /// Each token asks its own modalities.
    TokenAttention(TokenAttentionConfig),
}

/// A fusion of any kind.
#[derive(Module, Debug)]
pub enum AnyFusion {
    /// See [`TokenAttention`].
    TokenAttention(TokenAttention),
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
    /// A size that must be at least one is zero.
    #[error("fusion: {0} must be at least 1, found 0")]
    Zero(&'static str),
    /// There is nothing to fuse.
    #[error("fusion: at least one modality is needed, found none")]
    NoModality,
    /// A modality is named twice.
    #[error("fusion: modality {0} is listed twice")]
    Repeated(&'static str),
    /// A kind that does not exist.
    #[error("fusion: no kind is called `{found}`; there are {known}")]
    UnknownKind {
        /// What was asked for.
        found: String,
        /// All kinds.
        known: String,
    },
}

impl FusionConfig {
    /// Every kind by the name that configurations use.
    pub const KINDS: [&str; 1] = ["token_attention"];

    /// A kind by its name, with its usual settings; `heads` is for those that have attention.
    pub fn usual(
        kind: &str,
        streams: Vec<(Modality, usize)>,
        dim: usize,
        heads: usize,
    ) -> Result<Self, ConfigError> {
        Ok(match kind {
            "token_attention" => Self::TokenAttention(TokenAttentionConfig { streams, dim, heads }),
            _ => return Err(ConfigError::UnknownKind { found: kind.to_owned(), known: Self::KINDS.join(", ") }),
        })
    }

    /// The name that configurations use.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TokenAttention(_) => "token_attention",
        }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::TokenAttention(config) => config.validate(),
        }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> AnyFusion {
        match self {
            Self::TokenAttention(config) => AnyFusion::TokenAttention(config.init(device)),
        }
    }
}

impl AnyFusion {
    fn as_fusion(&self) -> &dyn Fusion {
        match self {
            Self::TokenAttention(fusion) => fusion,
        }
    }
}

impl Fusion for AnyFusion {
    fn modalities(&self) -> &[Modality] {
        self.as_fusion().modalities()
    }

    fn dim(&self) -> usize {
        self.as_fusion().dim()
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        self.as_fusion().fuse(streams)
    }
}

/// What every kind asks of its streams: at least one, none twice, no width of zero.
pub(crate) fn validate_streams(streams: &[(Modality, usize)], dim: usize) -> Result<(), ConfigError> {
    if streams.is_empty() {
        return Err(ConfigError::NoModality);
    }
    for (index, (modality, width)) in streams.iter().enumerate() {
        if streams[..index].iter().any(|(earlier, _)| earlier == modality) {
            return Err(ConfigError::Repeated(modality.name()));
        }
        if *width == 0 {
            return Err(ConfigError::Zero("the width of a stream"));
        }
    }
    if dim == 0 { Err(ConfigError::Zero("dim")) } else { Ok(()) }
}

/// What every kind with attention asks of its heads.
pub(crate) fn validate_heads(heads: usize, dim: usize) -> Result<(), ConfigError> {
    if heads == 0 || !dim.is_multiple_of(heads) { Err(ConfigError::Heads { heads, dim }) } else { Ok(()) }
}
