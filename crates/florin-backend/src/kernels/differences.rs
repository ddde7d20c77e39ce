//! Sums of what differences of rows cost, their squares or less far out, and their gradient.

use multiversion::multiversion;
use rayon::prelude::*;

use super::counted::Counted;
use super::rows::{sum, sum_of_differences};

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 14;

/// What a difference costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// `d²`
    Square,
    /// `½d²` up to one, then a line of the same slope.
    Huber,
}

impl Cost {
    #[inline(always)]
    fn of(self, difference: f32) -> f32 {
        match self {
            Self::Square => difference * difference,
            Self::Huber => {
                let size = difference.abs();
                let near = if size > 1.0 { 1.0 } else { size };
                0.5 * near * near + (size - near)
            }
        }
    }

    #[inline(always)]
    fn slope(self, difference: f32) -> f32 {
        match self {
            Self::Square => 2.0 * difference,
            Self::Huber => difference.clamp(-1.0, 1.0),
        }
    }
}

/// Pairs of rows.
#[derive(Clone, Copy)]
pub(crate) struct Differences<'a> {
    pub(crate) one: &'a [f32],
    pub(crate) other: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) counted: Counted<'a>,
    pub(crate) cost: Cost,
}

impl<'a> Differences<'a> {
    #[inline(always)]
    fn rows(&self, row: usize) -> [&'a [f32]; 2] {
        [self.one, self.other].map(|x| &x[row * self.columns..][..self.columns])
    }

    fn rows_of_a_task(&self) -> usize {
        (NUMBERS / self.columns.max(1)).max(1)
    }
}

/// The sum over what counts of each row; zero for a row that does not.
pub(crate) fn forward(differences: Differences) -> Vec<f32> {
    let mut sums = vec![0f32; differences.counted.rows.len()];
    let rows = differences.rows_of_a_task();
    sums.par_chunks_mut(rows).enumerate().for_each(|(task, sums)| add_up(differences, task * rows, sums));
    sums
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn add_up(differences: Differences, first: usize, sums: &mut [f32]) {
    let Differences { columns, counted, cost, .. } = differences;
    let mut costs = vec![0f32; columns];
    for (row, total) in (first..).zip(sums) {
        if counted.rows[row] == 0 {
            continue;
        }
        let [one, other] = differences.rows(row);
        *total = match (counted.columns_of(row, columns), cost) {
            (Some(marks), cost) => {
                for (into, ((one, other), mark)) in costs.iter_mut().zip(one.iter().zip(other).zip(marks)) {
                    *into = if *mark == 0 { 0.0 } else { cost.of(one - other) };
                }
                sum(&costs)
            }
            (None, Cost::Square) => sum_of_differences(one, other, |difference| Cost::Square.of(difference)),
            (None, Cost::Huber) => sum_of_differences(one, other, |difference| Cost::Huber.of(difference)),
        };
    }
}

/// The gradient of `one` from that of the sums.
pub(crate) fn backward(differences: Differences, gradient: &[f32]) -> Vec<f32> {
    let mut found = vec![0f32; differences.one.len()];
    let rows = differences.rows_of_a_task();
    let tasks = found.par_chunks_mut(rows * differences.columns.max(1)).enumerate();
    tasks.for_each(|(task, found)| take_apart(differences, task * rows, gradient, found));
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn take_apart(differences: Differences, first: usize, gradient: &[f32], found: &mut [f32]) {
    let Differences { columns, counted, cost, .. } = differences;
    for (row, found) in (first..).zip(found.chunks_exact_mut(columns)) {
        if counted.rows[row] == 0 {
            continue;
        }
        let ([one, other], factor) = (differences.rows(row), gradient[row]);
        for ((found, one), other) in found.iter_mut().zip(one).zip(other) {
            *found = factor * cost.slope(one - other);
        }
        if let Some(marks) = counted.columns_of(row, columns) {
            // After the fact and not by a factor: what does not count may be no number.
            found.iter_mut().zip(marks).filter(|(_, mark)| **mark == 0).for_each(|(found, _)| *found = 0.0);
        }
    }
}
