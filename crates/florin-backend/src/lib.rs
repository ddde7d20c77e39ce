//! Devices by name, seeds, and the tensor operations that every Florin model calls.
//!
//! Models never call Burn for an operation named here: whatever is fast on a device is put underneath, in this crate alone.

mod composed;
pub mod device;
mod fused;
mod kernels;
mod memory;
mod operations;
mod optimiser;
mod packed_weight;

pub use device::{BackendError, DeviceInfo, available, device, seed};
pub use fused::AdamWStep;
pub use kernels::activation::Activation;
pub use kernels::finite::count_not_finite;
pub use kernels::transpose::transpose;
pub use operations::{
    AttentionOptions, activation, add_norm, attention, attention_of_sequences, cross_entropy, embedding, fuses,
    layer_norm, linear, linear_activation, log_likelihood, log_softmax, product, softmax,
};
pub use optimiser::{adamw, sum_of_squares};
pub use packed_weight::{PackedWeight, WeightFormat, packed_linear};
