//! One enum of all kinds: what a configuration file names, and what a model holds that lets its user choose.

use burn::prelude::*;
use florin_nn::Modality;
use serde::{Deserialize, Serialize};

use crate::{
    AdaptiveHierarchical, AdaptiveHierarchicalConfig, Bottleneck, BottleneckConfig, Concatenation, CrossAttention,
    CrossAttentionConfig, Dynamic, DynamicConfig, Early, EarlyConfig, Fused, Fusion, Gated, GatedConfig, Late,
    LateCombination, LateConfig, LowRank, LowRankConfig, Mult, MultConfig, Perceiver, PerceiverConfig, Stream,
    TensorConfig, TensorFusion, TokenAttention, TokenAttentionConfig,
};

/// A kind with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FusionConfig {
    /// One modality, pairs and all together, weighed by the input.
    AdaptiveHierarchical(AdaptiveHierarchicalConfig),
    /// One of several strategies, chosen by the input.
    Dynamic(DynamicConfig),
    /// A gate for every number of every modality.
    Gated(GatedConfig),
    /// Each modality judged alone.
    Late(LateConfig),
    /// Tensor fusion whose weight has a low rank.
    LowRank(LowRankConfig),
    /// Products of all modalities.
    Tensor(TensorConfig),
    /// Each modality reads itself and a few shared tokens.
    Bottleneck(BottleneckConfig),
    /// The anchor's tokens ask all others'.
    CrossAttention(CrossAttentionConfig),
    /// One network over all tokens.
    Early(EarlyConfig),
    /// One transformer an ordered pair.
    Mult(MultConfig),
    /// Latents read all tokens.
    Perceiver(PerceiverConfig),
    /// Each token asks its own modalities.
    TokenAttention(TokenAttentionConfig),
}

/// A fusion of any kind.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model holds one, not an array of them")]
pub enum AnyFusion {
    /// See [`AdaptiveHierarchical`].
    AdaptiveHierarchical(AdaptiveHierarchical),
    /// See [`Dynamic`].
    Dynamic(Dynamic),
    /// See [`Gated`].
    Gated(Gated),
    /// See [`Late`].
    Late(Late),
    /// See [`LowRank`].
    LowRank(LowRank),
    /// See [`TensorFusion`].
    Tensor(TensorFusion),
    /// See [`Bottleneck`].
    Bottleneck(Bottleneck),
    /// See [`CrossAttention`].
    CrossAttention(CrossAttention),
    /// See [`Early`].
    Early(Early),
    /// See [`Mult`].
    Mult(Mult),
    /// See [`Perceiver`].
    Perceiver(Perceiver),
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
    /// A kind of pairs has fewer modalities than a pair.
    #[error("fusion: {kind} needs at least {least} modalities, found {found}")]
    TooFew {
        /// The kind by name.
        kind: &'static str,
        /// How many it needs.
        least: usize,
        /// How many there are.
        found: usize,
    },
    /// What one layer writes into the bottlenecks another reads in the next.
    #[error("fusion: at least 2 of the layers ({layers}) must follow fusion_layer ({fusion_layer})")]
    FusionLayer {
        /// First layer that shares the bottlenecks.
        fusion_layer: usize,
        /// All layers.
        layers: usize,
    },
    /// A modality is named twice.
    #[error("fusion: modality {0} is listed twice")]
    Repeated(&'static str),
    /// An outer product that would not fit.
    #[error("fusion: an outer product of {modalities} modalities of width {width} has more than {most} entries")]
    TooLarge {
        /// Width of each modality in the product.
        width: usize,
        /// How many modalities.
        modalities: usize,
        /// Entries allowed.
        most: usize,
    },
    /// A number outside its range.
    #[error("fusion: {name} should be {range}, but is {found}")]
    Range {
        /// Which number.
        name: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it is.
        found: f64,
    },
    /// A branch that reads what it cannot.
    #[error("fusion: {strategy} branch of {modalities}: {reason}")]
    Branch {
        /// How it fuses.
        strategy: &'static str,
        /// What it reads.
        modalities: String,
        /// What is wrong with that.
        reason: &'static str,
    },
    /// A modality without a branch of its own leaves rows that have nothing else without any.
    #[error("fusion: modality {0} needs a branch of its own")]
    NoBranch(&'static str),
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
    pub const KINDS: [&str; 12] = [
        "adaptive_hierarchical",
        "bottleneck",
        "cross_attention",
        "dynamic",
        "early",
        "gated",
        "late",
        "low_rank",
        "mult",
        "perceiver",
        "tensor",
        "token_attention",
    ];

    /// A kind by its name, with its usual settings; `heads` is for those that have attention.
    pub fn usual(kind: &str, streams: Vec<(Modality, usize)>, dim: usize, heads: usize) -> Result<Self, ConfigError> {
        let positions = true;
        Ok(match kind {
            "adaptive_hierarchical" => Self::AdaptiveHierarchical(AdaptiveHierarchicalConfig { streams, dim }),
            "dynamic" => Self::Dynamic(DynamicConfig::usual(streams, dim)),
            "gated" => Self::Gated(GatedConfig { streams, dim }),
            "late" => Self::Late(LateConfig { streams, dim, hidden: dim, combination: LateCombination::default() }),
            "low_rank" => Self::LowRank(LowRankConfig { streams, dim, rank: 4 }),
            "tensor" => Self::Tensor(TensorConfig::usual(streams, dim)),
            "bottleneck" => Self::Bottleneck(BottleneckConfig {
                streams,
                dim,
                heads,
                bottlenecks: 4,
                layers: 4,
                fusion_layer: 2,
                positions,
            }),
            "cross_attention" => {
                Self::CrossAttention(CrossAttentionConfig { streams, dim, heads, layers: 2, positions })
            }
            "early" => {
                let concatenation = Concatenation::Tokens;
                Self::Early(EarlyConfig { streams, dim, heads, layers: 2, positions, concatenation })
            }
            "mult" => Self::Mult(MultConfig { streams, dim, heads, layers: 2, memory_layers: 1 }),
            "perceiver" => Self::Perceiver(PerceiverConfig { streams, dim, heads, latents: 32, layers: 2, positions }),
            "token_attention" => Self::TokenAttention(TokenAttentionConfig { streams, dim, heads }),
            _ => return Err(ConfigError::UnknownKind { found: kind.to_owned(), known: Self::KINDS.join(", ") }),
        })
    }

    /// The name that configurations use.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AdaptiveHierarchical(_) => "adaptive_hierarchical",
            Self::Dynamic(_) => "dynamic",
            Self::Gated(_) => "gated",
            Self::Late(_) => "late",
            Self::LowRank(_) => "low_rank",
            Self::Tensor(_) => "tensor",
            Self::Bottleneck(_) => "bottleneck",
            Self::CrossAttention(_) => "cross_attention",
            Self::Early(_) => "early",
            Self::Mult(_) => "mult",
            Self::Perceiver(_) => "perceiver",
            Self::TokenAttention(_) => "token_attention",
        }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::AdaptiveHierarchical(config) => config.validate(),
            Self::Dynamic(config) => config.validate(),
            Self::Gated(config) => config.validate(),
            Self::Late(config) => config.validate(),
            Self::LowRank(config) => config.validate(),
            Self::Tensor(config) => config.validate(),
            Self::Bottleneck(config) => config.validate(),
            Self::CrossAttention(config) => config.validate(),
            Self::Early(config) => config.validate(),
            Self::Mult(config) => config.validate(),
            Self::Perceiver(config) => config.validate(),
            Self::TokenAttention(config) => config.validate(),
        }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> AnyFusion {
        match self {
            Self::AdaptiveHierarchical(config) => AnyFusion::AdaptiveHierarchical(config.init(device)),
            Self::Dynamic(config) => AnyFusion::Dynamic(config.init(device)),
            Self::Gated(config) => AnyFusion::Gated(config.init(device)),
            Self::Late(config) => AnyFusion::Late(config.init(device)),
            Self::LowRank(config) => AnyFusion::LowRank(config.init(device)),
            Self::Tensor(config) => AnyFusion::Tensor(config.init(device)),
            Self::Bottleneck(config) => AnyFusion::Bottleneck(config.init(device)),
            Self::CrossAttention(config) => AnyFusion::CrossAttention(config.init(device)),
            Self::Early(config) => AnyFusion::Early(config.init(device)),
            Self::Mult(config) => AnyFusion::Mult(config.init(device)),
            Self::Perceiver(config) => AnyFusion::Perceiver(config.init(device)),
            Self::TokenAttention(config) => AnyFusion::TokenAttention(config.init(device)),
        }
    }
}

impl AnyFusion {
    fn as_fusion(&self) -> &dyn Fusion {
        match self {
            Self::AdaptiveHierarchical(fusion) => fusion,
            Self::Dynamic(fusion) => fusion,
            Self::Gated(fusion) => fusion,
            Self::Late(fusion) => fusion,
            Self::LowRank(fusion) => fusion,
            Self::Tensor(fusion) => fusion,
            Self::Bottleneck(fusion) => fusion,
            Self::CrossAttention(fusion) => fusion,
            Self::Early(fusion) => fusion,
            Self::Mult(fusion) => fusion,
            Self::Perceiver(fusion) => fusion,
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

    fn works_on_tokens(&self) -> bool {
        self.as_fusion().works_on_tokens()
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
