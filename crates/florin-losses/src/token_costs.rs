//! Cross-entropy over a vocabulary, some rows at a time.
//!
//! Automatic differentiation of `log_softmax` keeps several matrices as large as the logits, which over a vocabulary are the largest of
//! all. Their gradient has a closed form, softmax less target. On the `cpu` device it is one operation that keeps nothing but the logits
//! and skips rows that do not count; elsewhere each chunk of rows gives its costs and its gradients at once, and only the gradient is kept.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use florin_backend::{fuses, smoothed_log_likelihood};

use crate::contrast::chunks;
use crate::counting::blanked;

/// What each row should say, and whether it counts.
pub(crate) struct TokenTargets {
    /// `[rows]`; where a row does not count, anything.
    pub(crate) ids: Tensor<1, Int>,
    /// `[rows]`
    pub(crate) counts: Tensor<1, Bool>,
    /// Share of the target that is spread evenly over the vocabulary.
    pub(crate) smoothing: f64,
}

/// The cost of each row, `[rows]`, from logits `[rows, vocabulary]`; zero, without gradient, where a row does not count.
pub(crate) fn token_costs(logits: Tensor<2>, targets: TokenTargets, chunk: usize) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let TokenTargets { ids, counts, smoothing } = targets;
    if fuses(&logits) {
        return smoothed_log_likelihood(logits, ids, Some(counts), smoothing).neg();
    }
    let logits = blanked(logits, counts.clone().unsqueeze_dim::<2>(1));
    let scores = logits.clone().detach();
    let marks = counts.clone().float().cast(scores.dtype());
    let ids = ids.mask_fill(counts.bool_not(), 0);
    let (mut costs, mut gradients) = (Vec::new(), Vec::new());
    for place in chunks(rows, chunk) {
        let (start, count) = (place.start, place.len());
        let charged = charge(scores.clone().narrow(0, start, count), ids.clone().narrow(0, start, count), smoothing);
        let marks = marks.clone().narrow(0, start, count);
        costs.push(charged.0 * marks.clone());
        gradients.push(charged.1 * marks.unsqueeze_dim::<2>(1));
    }
    let through = (logits - scores) * Tensor::cat(gradients, 0);
    Tensor::cat(costs, 0) + through.sum_dim(1).reshape([rows])
}

/// Costs `[rows]` and their gradients `[rows, vocabulary]`, each of its own row's logits.
pub(crate) fn charge(scores: Tensor<2>, ids: Tensor<1, Int>, smoothing: f64) -> (Tensor<1>, Tensor<2>) {
    let [rows, vocabulary] = scores.dims();
    let ids = ids.reshape([rows, 1]);
    let below = scores.clone().max_dim(1) - scores; // every term is a difference from the largest score: nothing large cancels
    let shares = below.clone().neg().exp();
    let sum = shares.clone().sum_dim(1);
    let right = below.clone().gather(1, ids.clone());
    let cost = sum.clone().log() + right.clone() * (1.0 - smoothing) + below.mean_dim(1) * smoothing;
    let taken = right.zeros_like() - (1.0 - smoothing);
    let gradient = (shares / sum - smoothing / vocabulary as f64).scatter(1, ids, taken, IndexingUpdateOp::Add);
    (cost.reshape([rows]), gradient)
}
