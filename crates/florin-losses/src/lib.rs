//! Losses with named parts.
//!
//! One file a loss. A loss takes tensors and gives tensors; models, data and optimisers are unknown here.

mod audio_clip;
mod avts;
mod cached_contrast;
mod captioning;
mod cav_mae;
#[cfg(test)]
mod checking;
mod clap;
mod clip;
mod cmc;
mod contrast;
#[cfg(test)]
mod contrast_properties;
mod counting;
mod cpc;
pub mod distillation;
mod error;
mod grad_norm;
mod logit_scale;
mod masked_image;
mod masked_language;
mod memory_bank;
mod modality_contrast;
mod modality_vectors;
mod multi_task;
mod nt_xent;
mod sig_lip;
mod span;
mod supervised_contrast;
mod token_costs;
mod vector_quantisation;

pub use audio_clip::{AudioClipLoss, AudioClipLossParts, AudioClipScales};
pub use avts::{AvtsCurriculum, AvtsLoss, AvtsLossParts, AvtsPair};
pub use cached_contrast::{CachedContrast, EncodeRows};
pub use captioning::{CaptioningLoss, CaptioningLossParts};
pub use cav_mae::{CavMaeDirections, CavMaeLoss, CavMaeLossParts};
pub use clap::{ClapLoss, ClapLossParts};
pub use clip::{ClipLoss, ClipLossParts, GatheredPairs};
pub use cmc::{CmcLoss, CmcLossParts, CmcPair};
pub use cpc::{CpcLoss, CpcLossParts, CpcNegatives, CpcPredictor, CpcStep};
pub use error::LossError;
pub use grad_norm::{GradNorm, GradNormConfig, TaskProgress};
pub use logit_scale::LogitScale;
pub use masked_image::{MaskedImageLoss, MaskedImageLossParts, PatchTarget, patchify, unpatchify};
pub use masked_language::{MaskedLanguageLoss, MaskedLanguageLossParts, VocabularyDecoder};
pub use memory_bank::MemoryBank;
pub use modality_contrast::{ModalityContrastLoss, ModalityContrastLossParts, ModalityGap, OrderedPair};
pub use modality_vectors::ModalityVectors;
pub use multi_task::{MultiTaskLossParts, TaskKind, TaskLosses, UncertaintyWeights};
pub use nt_xent::{NtXentLoss, NtXentLossParts};
pub use sig_lip::{SigLipLoss, SigLipLossParts};
pub use span::{SpanLoss, SpanLossParts, SpanScores};
pub use supervised_contrast::{SupervisedContrastLoss, SupervisedContrastLossParts};
pub use vector_quantisation::{COMMITMENT, Codebook, MovingCodebook, Quantised};
