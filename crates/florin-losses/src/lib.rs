//! Losses with named parts.
//!
//! One file a loss. A loss takes tensors and gives tensors; models, data and optimisers are unknown here.

mod clip;
mod contrast;
mod logit_scale;
mod nt_xent;
mod sig_lip;
mod span;
mod supervised_contrast;

pub use clip::{ClipLoss, ClipLossParts, GatheredPairs};
pub use logit_scale::LogitScale;
pub use nt_xent::{NtXentLoss, NtXentLossParts};
pub use sig_lip::{SigLipLoss, SigLipLossParts};
pub use span::{SpanLoss, SpanLossParts, SpanScores};
pub use supervised_contrast::{SupervisedContrastLoss, SupervisedContrastLossParts};
