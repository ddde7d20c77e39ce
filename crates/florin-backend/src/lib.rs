//! Devices by name, seeds, and the tensor operations that every Florin model calls.
//!
//! Models never call Burn for an operation named here: whatever is fast on a device is put underneath, in this crate alone.

mod answers;
mod comparisons;
mod composed;
mod contrast;
pub mod device;
mod fused;
mod kernels;
mod memory;
mod mixed;
mod operations;
mod optimiser;
mod packed_weight;
mod pairs;
mod positions;
mod rotation;
mod spans;
mod sparsemax;

pub use answers::{AnswerGradient, PairCharges, charge_pairs};
pub use comparisons::{
    Counting, cosines, divergences, huber_differences, squared_differences, unit_rows, with_gradient,
};
pub use contrast::{KeyLists, RowCharges, RowTargets, ScoreGradient, charge_rows};
pub use device::{BackendError, DeviceInfo, available, device, seed};
pub use fused::{AdamWStep, fuses};
pub use kernels::activation::Activation;
pub use kernels::finite::count_not_finite;
pub use kernels::transpose::transpose;
pub use mixed::in_mixed_precision;
pub use operations::{
    AttentionOptions, activation, add_norm, attention, attention_of_sequences, cross_entropy, embedding, layer_norm,
    linear, linear_activation, log_likelihood, log_softmax, product, rows, smoothed_log_likelihood, softmax,
};
pub use optimiser::{adamw, sum_of_squares};
pub use packed_weight::{PackedWeight, WeightFormat, packed_linear};
pub use pairs::{angle_cosines, distances};
pub use positions::{along_diagonals, log_reach, without_hidden};
pub use rotation::{Pairing, Rotation, rotate};
pub use spans::{FieldScores, span_costs};
pub use sparsemax::sparsemax;
