//! Losses with named parts.
//!
//! One file a loss. A loss takes tensors and gives tensors; models, data and optimisers are unknown here.

mod span;

pub use span::{SpanLoss, SpanLossParts, SpanScores};
