//! What the fused operations do to plain numbers on the host: no tensors, no gradients' bookkeeping.
//!
//! Work is cut into pieces whose size depends on the shapes alone, and sums over pieces are added in order: the result is
//! the same whatever the number of threads.

pub(crate) mod activation;
pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod contrast;
pub(crate) mod cosine;
pub(crate) mod counted;
pub(crate) mod diagonals;
pub(crate) mod differences;
pub(crate) mod divergence;
pub(crate) mod embedding;
pub(crate) mod finite;
pub(crate) mod float_math;
pub(crate) mod gapless;
pub(crate) mod hidden_rows;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod made;
pub(crate) mod packed;
pub(crate) mod pairs;
pub(crate) mod product;
pub(crate) mod reach;
pub(crate) mod rotation;
pub(crate) mod rows;
pub(crate) mod sigmoid;
pub(crate) mod softmax;
pub(crate) mod spans;
pub(crate) mod transpose;
pub(crate) mod unit;
