//! The softmax's sparse sister: the point of the probability simplex nearest to the scores, most of whose weights are zero.
//!
//! `p = max(z − τ, 0)` with τ such that the weights sum to one. With the scores in falling order the support is the largest k with
//! `1 + k·z_k > Σ_{j≤k} z_j`, and `τ = (Σ_support z − 1) / k`. The gradient is `g − mean_support(g)` on the support and exactly zero
//! off it.
//!
//! It needs the whole row of scores at once, so it is no part of the fused attention, but an operation of rows: the `cpu` device finds the threshold
//! without sorting, by dropping what lies below the threshold of what is left until nothing does (Michelot 1986,
//! <https://doi.org/10.1007/BF00938486>).
//!
//! Paper: Martins and Astudillo 2016 (sparsemax), <https://arxiv.org/abs/1602.02068>
//! Difference: hidden entries weigh zero, and a row of hidden entries only is all zero.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{Form, FusedOperations, serves};

/// Weights along the last dimension, each row's sum one, or zero where everything is hidden.
///
/// # Shapes
///
/// - scores, output: `[.., entries]`; hidden: the same, true where an entry must weigh zero
pub fn sparsemax<const D: usize>(scores: Tensor<D>, hidden: Option<Tensor<D, Bool>>) -> Tensor<D> {
    if serves(&scores) {
        let scores = match hidden {
            Some(hidden) => scores.mask_fill(hidden, f32::NEG_INFINITY),
            None => scores,
        };
        return Tensor::from_dispatch(Dispatch::fused_softmax(scores.into_dispatch(), Form::Sparse));
    }
    composed(scores, hidden)
}

fn composed<const D: usize>(scores: Tensor<D>, hidden: Option<Tensor<D, Bool>>) -> Tensor<D> {
    // Scores count only by their distance from the largest: subtracting it first leaves all digits to those that matter.
    let seen = match &hidden {
        Some(hidden) => scores.clone().detach().mask_fill(hidden.clone(), f32::MIN),
        None => scores.clone().detach(),
    };
    let most = seen.clone().max_dim(D - 1);
    let support = support(seen - most.clone(), hidden);
    // Off the support a score is replaced, so that even an infinite one has a gradient of zero and not NaN.
    let inside = (scores - most).mask_fill(support.clone().bool_not(), 0.0);
    let marks = support.float().cast(inside.dtype());
    let count = marks.clone().sum_dim(D - 1).clamp_min(1.0);
    let threshold = (inside.clone().sum_dim(D - 1) - 1.0) / count;
    ((inside - threshold) * marks).clamp_min(0.0)
}

/// True for the entries with weight, from scores of which the largest is zero.
fn support<const D: usize>(scores: Tensor<D>, hidden: Option<Tensor<D, Bool>>) -> Tensor<D, Bool> {
    // The threshold is never below the largest score less one: lower scores are all alike.
    let scores = scores.clamp_min(-1.0);
    let falling = scores.clone().sort_descending(D - 1);
    let entries = falling.dims()[D - 1];
    let mut shape = [1; D];
    shape[D - 1] = entries;
    let ranks = Tensor::<1, Int>::arange(1..entries as i64 + 1, &falling.device()).float().cast(falling.dtype());
    let inside = (falling.clone() * ranks.reshape(shape) + 1.0).greater(falling.clone().cumsum(D - 1));
    let marks = inside.float().cast(falling.dtype());
    let count = marks.clone().sum_dim(D - 1); // at least one: the first always counts
    let threshold = ((falling * marks).sum_dim(D - 1) - 1.0) / count;
    let shape = scores.dims();
    let above = scores.greater(threshold.expand(shape));
    match hidden {
        Some(hidden) => above.bool_and(hidden.bool_not()),
        None => above,
    }
}
