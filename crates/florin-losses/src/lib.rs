//! Losses with named parts.
//!
//! One file a loss. A loss takes tensors and gives tensors; models, data and optimisers are unknown here.

#[cfg(test)]
mod checking;
mod clip;
mod contrast;
mod counting;
mod logit_scale;
mod masked_image;
mod nt_xent;
mod sig_lip;
mod span;
mod supervised_contrast;

pub use clip::{ClipLoss, ClipLossParts, GatheredPairs};
pub use logit_scale::LogitScale;
pub use masked_image::{MaskedImageLoss, MaskedImageLossParts, PatchTarget, patchify, unpatchify};
pub use nt_xent::{NtXentLoss, NtXentLossParts};
pub use sig_lip::{SigLipLoss, SigLipLossParts};
pub use span::{SpanLoss, SpanLossParts, SpanScores};
pub use supervised_contrast::{SupervisedContrastLoss, SupervisedContrastLossParts};
