//! Cost of rows of scores that should be largest at some of their keys, and its gradient, in one pass while a row is in the cache.
//!
//! A row costs the logarithm of its summed exponentials less the mean of the scores at its targets. Every term is a difference from the largest
//! score, so that nothing large cancels.

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::exp;
use super::rows::{dot, max, sum};
use crate::contrast::RowTargets;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 13;

/// What came out for a row.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowCost {
    pub(crate) cost: f32,
    /// One where a target scores above every other key.
    pub(crate) hit: f32,
    /// Gradient of the scale, where gradients are wanted.
    pub(crate) of_scale: f32,
}

/// Products that become scores when they are multiplied with a scale.
pub(crate) struct Scores<'a> {
    pub(crate) keys: usize,
    pub(crate) scale: f32,
    pub(crate) targets: &'a RowTargets,
}

/// The cost of every row of products; `gradient` is zero at first and of their size, where it is wanted.
pub(crate) fn charge(products: &[f32], scores: &Scores, gradient: Option<&mut [f32]>) -> Vec<RowCost> {
    let mut costs = vec![RowCost::default(); scores.targets.targets.rows()];
    let rows = (NUMBERS / scores.keys.max(1)).max(1);
    let numbers = rows * scores.keys.max(1);
    let tasks = costs.par_chunks_mut(rows).zip(products.par_chunks(numbers)).enumerate();
    match gradient {
        Some(gradient) => {
            tasks.zip(gradient.par_chunks_mut(numbers)).for_each(|((task, (costs, products)), gradient)| {
                charge_rows(products, scores, task * rows, costs, Some(gradient));
            })
        }
        None => tasks.for_each(|(task, (costs, products))| charge_rows(products, scores, task * rows, costs, None)),
    }
    costs
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn charge_rows(
    products: &[f32],
    scores: &Scores,
    first: usize,
    costs: &mut [RowCost],
    mut gradient: Option<&mut [f32]>,
) {
    let RowTargets { targets, hidden, log_counts } = scores.targets;
    let scale = scores.scale;
    let mut seen = vec![0f32; scores.keys];
    for (place, (products, cost)) in products.chunks_exact(scores.keys).zip(costs).enumerate() {
        let row = first + place;
        let targets = targets.of(row);
        if targets.is_empty() {
            continue;
        }
        for (seen, product) in seen.iter_mut().zip(products) {
            *seen = product * scale;
        }
        if let Some(log_counts) = log_counts {
            seen.iter_mut().zip(log_counts).for_each(|(seen, log_count)| *seen += log_count);
        }
        hidden.of(row).iter().for_each(|&key| seen[key as usize] = f32::NEG_INFINITY);
        let weight = 1.0 / targets.len() as f32;
        let best = targets.iter().map(|&key| seen[key as usize]).fold(f32::NEG_INFINITY, larger);
        let right = targets.iter().map(|&key| products[key as usize]).sum::<f32>() * weight;
        // The sum of distances and not the distance of the sum, in which the largest score would cancel.
        let other = largest_other(&mut seen, targets);
        let most = larger(best, other);
        let below = targets.iter().map(|&key| most - seen[key as usize]).sum::<f32>() * weight;
        seen.iter_mut().for_each(|seen| *seen = exp(*seen - most));
        let total = sum(&seen);
        cost.cost = total.ln() + below;
        cost.hit = f32::from(u8::from(best > other));
        if let Some(gradient) = gradient.as_deref_mut() {
            let gradient = &mut gradient[place * scores.keys..][..scores.keys];
            let inverse = 1.0 / total;
            cost.of_scale = dot(&seen, products) * inverse - right;
            for (gradient, seen) in gradient.iter_mut().zip(&seen) {
                *gradient = seen * (inverse * scale);
            }
            targets.iter().for_each(|&key| gradient[key as usize] -= weight * scale);
        }
    }
}

/// Takes a number that is none, so that it is not lost.
#[inline(always)]
fn larger(one: f32, other: f32) -> f32 {
    if one > other || one.is_nan() { one } else { other }
}

/// The largest score of what is no target; minus infinity where there is nothing else.
#[inline(always)]
fn largest_other(seen: &mut [f32], targets: &[u32]) -> f32 {
    let [only] = targets else {
        let kept: Vec<f32> = targets.iter().map(|&key| seen[key as usize]).collect();
        targets.iter().for_each(|&key| seen[key as usize] = f32::NEG_INFINITY);
        let other = max(seen);
        targets.iter().zip(kept).for_each(|(&key, score)| seen[key as usize] = score);
        return other;
    };
    let kept = std::mem::replace(&mut seen[*only as usize], f32::NEG_INFINITY);
    let other = max(seen);
    seen[*only as usize] = kept;
    other
}
