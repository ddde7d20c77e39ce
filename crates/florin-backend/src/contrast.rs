//! What rows of scores cost that should be largest at some of their keys: what softmax contrastive losses are made of.
//!
//! No graph is recorded here. The gradient has a closed form (softmax less target), so that whoever wants it gets it at once and need not keep the
//! scores; whoever does not want it does not pay for it.

use burn::prelude::*;

use crate::fused::{self, serves};

/// Scores of hidden keys: finite, so that a row that sees no key gives zero and not NaN.
const HIDDEN: f32 = -1e30;

/// Some keys of each row.
#[derive(Clone, Debug, Default)]
pub struct KeyLists {
    /// Where each row's keys end.
    ends: Vec<usize>,
    keys: Vec<u32>,
}

/// What rows should be closest to.
#[derive(Clone, Debug)]
pub struct RowTargets {
    /// The keys that share a row's target evenly; a row without any costs nothing.
    pub targets: KeyLists,
    /// The keys that do not compete in a row, none of them a target.
    pub hidden: KeyLists,
    /// The logarithm of how often each key counts among those that compete, added to its scores; minus infinity for one that never does.
    pub log_counts: Option<Vec<f32>>,
}

/// What rows cost, without gradients of its own.
#[derive(Clone, Debug)]
pub struct RowCharges {
    /// `[rows]`
    pub costs: Tensor<1>,
    /// One where a target scores above every other key, `[rows]`; a tie is no hit.
    pub hits: Tensor<1>,
    /// The gradient of the costs' sum, if it was wanted.
    pub gradient: Option<ScoreGradient>,
}

/// The gradient of a sum of costs.
#[derive(Clone, Debug)]
pub struct ScoreGradient {
    /// Of the products, `[rows, keys]`.
    pub products: Tensor<2>,
    /// Of the scale, `[1]`.
    pub scale: Tensor<1>,
}

impl KeyLists {
    /// The keys of each row in turn.
    pub fn new<Keys: IntoIterator<Item = usize>>(rows: impl IntoIterator<Item = Keys>) -> Self {
        let mut lists = Self::default();
        for row in rows {
            lists.keys.extend(row.into_iter().map(|key| u32::try_from(key).expect("fewer than 2³² keys")));
            lists.ends.push(lists.keys.len());
        }
        lists
    }

    /// No key for any of so many rows.
    pub fn none(rows: usize) -> Self {
        Self { ends: vec![0; rows], keys: Vec::new() }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// A row's keys.
    pub(crate) fn of(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.keys[start..self.ends[row]]
    }

    /// `share` of each row's length at its keys and zero elsewhere, `[rows, keys]`.
    fn dense(&self, keys: usize, share: impl Fn(usize) -> f32) -> Vec<f32> {
        let mut values = vec![0f32; self.rows() * keys];
        for row in 0..self.rows() {
            let listed = self.of(row);
            listed.iter().for_each(|&key| values[row * keys + key as usize] = share(listed.len()));
        }
        values
    }
}

impl RowTargets {
    /// Keys that all count once, and all compete.
    pub fn new(targets: KeyLists) -> Self {
        let hidden = KeyLists::none(targets.rows());
        Self { targets, hidden, log_counts: None }
    }
}

/// The cost of each row, `log Σₖ exp(scoreₖ)` less the mean score of its targets, where `score = scale · product`.
///
/// # Shapes
///
/// - products: `[rows, keys]`
/// - scale: `[1]`
///
/// # Panics
///
/// If targets and rows differ in number, or a listed key does not exist.
pub fn charge_rows(products: Tensor<2>, scale: Tensor<1>, targets: &RowTargets, gradient: bool) -> RowCharges {
    let [rows, keys] = products.dims();
    assert_eq!((targets.targets.rows(), targets.hidden.rows()), (rows, rows), "targets and hidden keys of each row");
    assert!(targets.log_counts.as_ref().is_none_or(|counts| counts.len() == keys), "a count of each key is needed");
    let (products, scale) = (products.without_autodiff(), scale.without_autodiff());
    if serves(&products) {
        return fused::charge_rows(products, scale, targets, gradient);
    }
    composed(products, scale, targets, gradient)
}

fn composed(products: Tensor<2>, scale: Tensor<1>, targets: &RowTargets, gradient: bool) -> RowCharges {
    let [rows, keys] = products.dims();
    let (device, dtype) = (products.device(), products.dtype());
    let matrix = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), &device).cast(dtype)
    };
    let factor: Tensor<2> = scale.reshape([1, 1]);
    let mut scores = products.clone() * factor.clone();
    let mut hidden = matrix(targets.hidden.dense(keys, |_| 1.0), [rows, keys]).greater_elem(0.5);
    if let Some(log_counts) = &targets.log_counts {
        let never = matrix(log_counts.iter().map(|count| f32::from(*count == f32::NEG_INFINITY)).collect(), [1, keys]);
        hidden = hidden.bool_or(never.greater_elem(0.5).expand([rows, keys]));
        scores = scores + matrix(log_counts.iter().map(|count| count.max(HIDDEN)).collect(), [1, keys]);
    }
    let weights = matrix(targets.targets.dense(keys, |length| 1.0 / length as f32), [rows, keys]);
    let seen = scores.clone().mask_fill(hidden, HIDDEN);
    let hits = hits(&seen, weights.clone().greater_elem(0.0));
    let most = seen.clone().max_dim(1);
    let shares = (seen - most.clone()).exp();
    let sum = shares.clone().sum_dim(1);
    let weight = weights.clone().sum_dim(1); // [rows, 1]
    // Both terms are differences from the largest score, so that nothing large cancels.
    let costs = weight.clone() * sum.clone().log() + (weights.clone() * (most - scores)).sum_dim(1);
    let gradient = gradient.then(|| {
        let of_scores = shares / sum * weight - weights;
        ScoreGradient { scale: (of_scores.clone() * products).sum(), products: of_scores * factor }
    });
    RowCharges { costs: costs.reshape([rows]), hits, gradient }
}

/// Whether each row scores a target above everything else, `[rows]`; a tie is no hit, so that vectors which are all alike hit nothing.
fn hits(seen: &Tensor<2>, target: Tensor<2, Bool>) -> Tensor<1> {
    let [rows, _] = seen.dims();
    let best = seen.clone().mask_fill(target.clone().bool_not(), HIDDEN).max_dim(1);
    let other = seen.clone().mask_fill(target, HIDDEN).max_dim(1);
    best.greater(other).float().cast(seen.dtype()).reshape([rows])
}
