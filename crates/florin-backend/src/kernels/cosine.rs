//! Cosines of pairs of rows, and their gradient.

use multiversion::multiversion;
use rayon::prelude::*;

use super::rows::dot;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 14;

fn rows_of(columns: usize) -> usize {
    (NUMBERS / columns.max(1)).max(1)
}

/// Pairs of rows, of which some count.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<'a> {
    pub(crate) one: &'a [f32],
    pub(crate) other: &'a [f32],
    pub(crate) columns: usize,
    /// `[rows]`, zero for a row that does not count: its cosine is zero, and so is its gradient.
    pub(crate) counts: &'a [u8],
    /// Added to each square length.
    pub(crate) epsilon: f32,
}

impl<'a> Pairs<'a> {
    #[inline(always)]
    fn rows(&self, row: usize) -> [&'a [f32]; 2] {
        [self.one, self.other].map(|x| &x[row * self.columns..][..self.columns])
    }
}

/// The cosine of each pair.
pub(crate) fn forward(pairs: Pairs) -> Vec<f32> {
    let mut cosines = vec![0f32; pairs.counts.len()];
    let rows = rows_of(pairs.columns);
    cosines.par_chunks_mut(rows).enumerate().for_each(|(task, cosines)| measure(pairs, task * rows, cosines));
    cosines
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn measure(pairs: Pairs, first: usize, cosines: &mut [f32]) {
    for (row, cosine) in (first..).zip(cosines) {
        if pairs.counts[row] != 0 {
            let [one, other] = pairs.rows(row);
            // One after the other, so that squares of squares never meet.
            let (length, other_length) =
                ((dot(one, one) + pairs.epsilon).sqrt(), (dot(other, other) + pairs.epsilon).sqrt());
            *cosine = dot(one, other) / length / other_length;
        }
    }
}

/// The gradient of the first rows: what turns them towards the others.
pub(crate) fn backward(pairs: Pairs, cosines: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut found = vec![0f32; pairs.one.len()];
    let rows = rows_of(pairs.columns);
    let tasks = found.par_chunks_mut(rows * pairs.columns.max(1)).enumerate();
    tasks.for_each(|(task, found)| turn(pairs, task * rows, cosines, gradient, found));
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn turn(pairs: Pairs, first: usize, cosines: &[f32], gradient: &[f32], found: &mut [f32]) {
    for (row, found) in (first..).zip(found.chunks_exact_mut(pairs.columns)) {
        if pairs.counts[row] == 0 {
            continue;
        }
        let [one, other] = pairs.rows(row);
        let (length, other_length) =
            ((dot(one, one) + pairs.epsilon).sqrt(), (dot(other, other) + pairs.epsilon).sqrt());
        let towards = gradient[row] / length / other_length;
        let back = gradient[row] * cosines[row] / length / length;
        for ((found, one), other) in found.iter_mut().zip(one).zip(other) {
            *found = towards * other - back * one;
        }
    }
}
