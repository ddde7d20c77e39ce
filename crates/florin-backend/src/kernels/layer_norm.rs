//! Layer normalisation of rows, of a sum of rows, and its gradients.

use multiversion::multiversion;
use rayon::prelude::*;

use super::made::made;
use super::rows::{dot, squares_around, sum};

/// Rows that one task takes: enough to be worth starting, few enough to share out.
const ROWS: usize = 32;

/// Scale, shift and what is added to the variance.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    /// One factor a column.
    pub(crate) scale: &'a [f32],
    /// One summand a column, where there is one.
    pub(crate) shift: Option<&'a [f32]>,
    /// Added to the variance.
    pub(crate) epsilon: f32,
}

/// Gradients.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// The normalised rows of `x`, or of `x + residual`.
pub(crate) fn forward(x: &[f32], residual: Option<&[f32]>, affine: Affine) -> Vec<f32> {
    let dim = affine.scale.len();
    made(x.len(), ROWS * dim, |from, output| normalise(x, residual, affine, from, output))
}

/// Some rows, from number `from` of `x` on.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn normalise(x: &[f32], residual: Option<&[f32]>, affine: Affine, from: usize, output: &mut [f32]) {
    let dim = affine.scale.len();
    for (row, output) in output.chunks_exact_mut(dim).enumerate() {
        let place = from + row * dim;
        let x = &x[place..place + dim];
        match residual.map(|residual| &residual[place..place + dim]) {
            Some(residual) => {
                for ((output, x), residual) in output.iter_mut().zip(x).zip(residual) {
                    *output = x + residual;
                }
            }
            None => output.copy_from_slice(x),
        }
        let (mean, inverse) = statistics(output, affine.epsilon);
        for (output, scale) in output.iter_mut().zip(affine.scale) {
            *output = (*output - mean) * inverse * scale;
        }
        if let Some(shift) = affine.shift {
            for (output, shift) in output.iter_mut().zip(shift) {
                *output += shift;
            }
        }
    }
}

/// Gradients of the rows that were normalised (`x`, or the sum) and of scale and shift.
pub(crate) fn backward(x: &[f32], affine: Affine, gradient: &[f32]) -> Gradients {
    let dim = affine.scale.len();
    let tasks = x.len().div_ceil(ROWS * dim);
    let mut for_x = vec![0f32; x.len()];
    let mut partial = vec![0f32; tasks * 2 * dim];
    let chunks = for_x.par_chunks_mut(ROWS * dim).zip(partial.par_chunks_mut(2 * dim)).enumerate();
    chunks.for_each(|(task, (for_x, partial))| {
        let (for_scale, for_shift) = partial.split_at_mut(dim);
        rows_backward(x, affine, gradient, task * ROWS * dim, [for_x, for_scale, for_shift]);
    });
    let (mut scale, mut shift) = (vec![0f32; dim], vec![0f32; dim]);
    for partial in partial.chunks_exact(2 * dim) {
        let (for_scale, for_shift) = partial.split_at(dim);
        scale.iter_mut().zip(for_scale).for_each(|(sum, value)| *sum += value);
        shift.iter_mut().zip(for_shift).for_each(|(sum, value)| *sum += value);
    }
    Gradients { x: for_x, scale, shift }
}

/// The gradients of some rows, from number `from` of `x` on; scale and shift are added to.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn rows_backward(x: &[f32], affine: Affine, gradient: &[f32], from: usize, into: [&mut [f32]; 3]) {
    let [for_x, for_scale, for_shift] = into;
    let dim = affine.scale.len();
    for (row, for_x) in for_x.chunks_exact_mut(dim).enumerate() {
        let place = from + row * dim;
        let (x, gradient) = (&x[place..place + dim], &gradient[place..place + dim]);
        let (mean, inverse) = statistics(x, affine.epsilon);
        // The normalised row first, where its gradient will stand.
        for (into, x) in for_x.iter_mut().zip(x) {
            *into = (x - mean) * inverse;
        }
        for ((sum, gradient), normal) in for_scale.iter_mut().zip(gradient).zip(&*for_x) {
            *sum = gradient.mul_add(*normal, *sum);
        }
        for (sum, gradient) in for_shift.iter_mut().zip(gradient) {
            *sum += gradient;
        }
        let along = weighted_dot(gradient, affine.scale, for_x) / dim as f32;
        let level = dot(gradient, affine.scale) / dim as f32;
        for ((into, gradient), scale) in for_x.iter_mut().zip(gradient).zip(affine.scale) {
            *into = inverse * (gradient * scale - level - *into * along);
        }
    }
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn statistics(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row) / count;
    (mean, 1.0 / (squares_around(row, mean) / count + epsilon).sqrt())
}

/// `Σ a b c`
#[inline(always)]
fn weighted_dot(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    for ((a, b), c) in a.chunks(LANES).zip(b.chunks(LANES)).zip(c.chunks(LANES)) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane = (a * b).mul_add(*c, *lane);
        }
    }
    lanes.into_iter().sum()
}
