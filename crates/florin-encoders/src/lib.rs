//! Encoders of one modality each: text, image, layout, sound, video, series, tables.
//!
//! One file an architecture. Files, checkpoint names and presets belong to `florin-models`; nothing here mixes modalities.

mod activation;
mod antialiased_grid;
mod attentional_fusion;
mod bert;
mod box_embeddings;
mod frames;
mod ft_transformer;
mod hts_at;
mod image_tower;
mod layout;
mod lilt;
mod modern_bert;
mod nearest;
mod noise_order;
mod overlapping_patches;
mod patch_tst;
mod patch_tst_masking;
mod patch_tst_scaling;
mod positions;
mod probe_pooling;
mod sine_positions;
mod spectrogram_transformer;
mod swin;
mod table_input;
mod table_mlp;
mod taps;
mod temporal_convolution;
mod text_tower;
mod time_sformer;
mod tubelets;
mod video_mae;
mod video_mae_decoder;
mod vit;
mod vit_mae_decoder;
mod whisper;
mod window_bias;
mod windows;
mod zeros;

pub use activation::activation;
pub use attentional_fusion::{AttentionalFusion, FusionGate, PartFusion};
pub use bert::{BertConfig, BertEncoder, BertInput};
pub use box_embeddings::BoxEmbeddings;
pub use frames::{FrameEncoder, FrameInput, FramePooling, MaxOfFrames, MeanOfFrames};
pub use ft_transformer::{CategoryTokens, FtTransformerBlock, FtTransformerConfig, FtTransformerEncoder, NumberTokens};
pub use hts_at::{HtsAtConfig, HtsAtEncoder, HtsAtInput, HtsAtOutput};
pub use image_tower::{ImageTower, ImageTowerConfig};
pub use layout::{LayoutConfig, LayoutEncoder, LayoutInput};
pub use lilt::{LiltConfig, LiltEncoder, LiltInput};
pub use modern_bert::{
    ModernBertBlock, ModernBertConfig, ModernBertEncoder, ModernBertInput, RotationConfig, RotationsConfig, Sight,
};
pub use noise_order::NoiseOrder;
pub use patch_tst::{PatchTstBlock, PatchTstConfig, PatchTstEncoder, PatchTstInput, PatchTstOutput};
pub use patch_tst_masking::{ForecastPatches, PatchTstMaskingConfig};
pub use patch_tst_scaling::{Scaled, Scaling, ScalingName};
pub use positions::Resizing;
pub use probe_pooling::ProbePooling;
pub use spectrogram_transformer::{SpectrogramTransformerConfig, SpectrogramTransformerEncoder};
pub use swin::{PatchMerging, SwinBlock, SwinStage};
pub use table_input::{TableColumns, TableInput};
pub use table_mlp::{TableMlpBlock, TableMlpConfig, TableMlpEncoder};
pub use temporal_convolution::{
    TemporalBlock, TemporalConvolutionConfig, TemporalConvolutionEncoder, TemporalConvolutionInput, last_kept,
};
pub use text_tower::{TextTower, TextTowerConfig, TextTowerInput};
pub use time_sformer::{TemporalAttention, TimeSformerBlock, TimeSformerConfig, TimeSformerEncoder, TimeSformerInput};
pub use tubelets::{HiddenTubelets, tubelets};
pub use video_mae::{Sides, VideoMaeConfig, VideoMaeEncoder, VideoMaeInput};
pub use video_mae_decoder::{VideoMaeDecoder, VideoMaeDecoderConfig};
pub use vit::{VitConfig, VitEncoder, VitInput, VitPositions, VitVariant, patches};
pub use vit_mae_decoder::{VitMaeDecoder, VitMaeDecoderConfig};
pub use whisper::{WhisperConfig, WhisperEncoder};
pub use window_bias::WindowBias;

/// A configuration that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Attention splits its width evenly among heads.
    #[error("{encoder}: heads ({heads}) must divide dim ({dim})")]
    Heads {
        /// Which encoder.
        encoder: &'static str,
        /// Attention heads asked for.
        heads: usize,
        /// Width asked for.
        dim: usize,
    },
    /// An activation that no model of ours has.
    #[error("{encoder}: no activation is called `{found}`")]
    Activation {
        /// Which encoder.
        encoder: &'static str,
        /// What was asked for.
        found: String,
    },
    /// A size is zero or beyond what can be meant.
    #[error("{encoder}: {name} must lie between {least} and {most}, found {found}")]
    Size {
        /// Which encoder.
        encoder: &'static str,
        /// Which size.
        name: &'static str,
        /// Smallest allowed.
        least: usize,
        /// Largest allowed.
        most: usize,
        /// What was asked for.
        found: usize,
    },
    /// A setting that is none of those there are.
    #[error("{encoder}: {name} must be {expected}, found {found}")]
    Choice {
        /// Which encoder.
        encoder: &'static str,
        /// Which setting.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What was asked for.
        found: String,
    },
    /// A picture must be cut into whole patches.
    #[error("vit: patch ({patch}) must divide height ({height}) and width ({width})")]
    Patch {
        /// Side of a patch.
        patch: usize,
        /// Height of the picture.
        height: usize,
        /// Width of the picture.
        width: usize,
    },
}

/// Checks one size of an untrusted configuration, before anything is allocated.
fn check_size(
    encoder: &'static str,
    name: &'static str,
    found: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) { Ok(()) } else { Err(ConfigError::Size { encoder, name, least, most, found }) }
}

/// Checks that heads divide the width.
fn check_heads(encoder: &'static str, heads: usize, dim: usize) -> Result<(), ConfigError> {
    if heads > 0 && dim.is_multiple_of(heads) { Ok(()) } else { Err(ConfigError::Heads { encoder, heads, dim }) }
}

/// The error of a setting that is none of those there are.
fn no_such(encoder: &'static str, name: &'static str, expected: &'static str, found: impl ToString) -> ConfigError {
    ConfigError::Choice { encoder, name, expected, found: found.to_string() }
}
