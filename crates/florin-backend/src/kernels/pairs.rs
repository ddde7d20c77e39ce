//! How far rows lie from each other, in which direction, and the gradients of both.

use multiversion::multiversion;
use rayon::prelude::*;

use super::made::made;
use super::rows::{dot, sum_of_differences};

/// Rows whose pairs one task takes on the way back. Sums are added up in their order, whatever the number of threads.
const ROWS: usize = 8;

/// The length of every difference, `[rows, rows]`; zero where rows are the same.
pub(crate) fn distances(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns.max(1);
    made(rows * rows, ROWS * rows, |first, output| lengths(x, columns, first / rows.max(1), output))
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn lengths(x: &[f32], columns: usize, first: usize, output: &mut [f32]) {
    let rows = x.len() / columns;
    for (one, output) in x[first * columns..].chunks_exact(columns).zip(output.chunks_exact_mut(rows)) {
        for (output, other) in output.iter_mut().zip(x.chunks_exact(columns)) {
            *output = sum_of_differences(other, one, |difference| difference * difference).sqrt();
        }
    }
}

/// From the first row of every pair to the second, `[rows, rows, columns]`, each of length one; zero where rows are the same.
pub(crate) fn directions(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns.max(1);
    let of_row = rows * columns;
    made(rows * of_row, of_row, |first, output| point(x, columns, first / of_row.max(1), output))
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn point(x: &[f32], columns: usize, first: usize, output: &mut [f32]) {
    for (one, output) in x[first * columns..].chunks_exact(columns).zip(output.chunks_exact_mut(x.len())) {
        for (output, other) in output.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
            let inverse = inverse(sum_of_differences(other, one, |difference| difference * difference).sqrt());
            for ((output, other), one) in output.iter_mut().zip(other).zip(one) {
                *output = (other - one) * inverse;
            }
        }
    }
}

/// One over a length; zero over none.
#[inline(always)]
fn inverse(length: f32) -> f32 {
    if length == 0.0 { 0.0 } else { 1.0 / length }
}

/// The gradient of the rows from that of their distances.
pub(crate) fn distances_backward(x: &[f32], columns: usize, distances: &[f32], gradient: &[f32]) -> Vec<f32> {
    let rows = x.len() / columns.max(1);
    let mut found = vec![0f32; x.len()];
    found.par_chunks_mut(columns.max(1)).enumerate().for_each(|(row, found)| {
        pull(
            x,
            columns,
            row,
            |other| {
                // Either way round.
                let pull = gradient[row * rows + other] + gradient[other * rows + row];
                pull * inverse(distances[row * rows + other])
            },
            found,
        );
    });
    found
}

#[inline(always)]
fn pull(x: &[f32], columns: usize, row: usize, by: impl Fn(usize) -> f32, found: &mut [f32]) {
    let one = &x[row * columns..][..columns];
    for (other, there) in x.chunks_exact(columns).enumerate() {
        let by = by(other);
        for ((found, one), there) in found.iter_mut().zip(one).zip(there) {
            *found = by.mul_add(one - there, *found);
        }
    }
}

/// The gradient of the rows from the directions and theirs.
pub(crate) fn directions_backward(x: &[f32], columns: usize, directions: &[f32], gradient: &[f32]) -> Vec<f32> {
    let of_task = ROWS * x.len().max(1);
    let tasks = directions.par_chunks(of_task).zip(gradient.par_chunks(of_task)).enumerate();
    let parts: Vec<Vec<f32>> =
        tasks.map(|(task, (directions, gradient))| turn(x, columns, task * ROWS, directions, gradient)).collect();
    let mut found = vec![0f32; x.len()];
    for part in parts {
        found.iter_mut().zip(part).for_each(|(found, part)| *found += part);
    }
    found
}

/// What the pairs of some first rows add to the gradient of all rows: of a direction only what is across it turns it.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn turn(x: &[f32], columns: usize, first: usize, directions: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut found = vec![0f32; x.len()];
    let mut of_first = vec![0f32; columns];
    let firsts = directions.chunks_exact(x.len()).zip(gradient.chunks_exact(x.len()));
    for (row, (directions, gradient)) in (first..).zip(firsts) {
        let one = &x[row * columns..][..columns];
        of_first.fill(0.0);
        let seconds = directions.chunks_exact(columns).zip(gradient.chunks_exact(columns));
        for ((direction, gradient), (other, found)) in
            seconds.zip(x.chunks_exact(columns).zip(found.chunks_exact_mut(columns)))
        {
            let inverse = inverse(sum_of_differences(other, one, |difference| difference * difference).sqrt());
            let along = dot(direction, gradient);
            for (((found, of_first), direction), gradient) in
                found.iter_mut().zip(&mut of_first).zip(direction).zip(gradient)
            {
                let across = (gradient - direction * along) * inverse;
                *found += across;
                *of_first -= across;
            }
        }
        found[row * columns..][..columns].iter_mut().zip(&of_first).for_each(|(found, of_first)| *found += of_first);
    }
    found
}
