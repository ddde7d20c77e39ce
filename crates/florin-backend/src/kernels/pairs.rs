//! How far rows lie from each other and at which angles, and the gradients of both. Differences of all pairs are never in memory at once.

use multiversion::multiversion;
use rayon::prelude::*;

use super::made::made;
use super::product::{Existing, Matrix, Threads, multiply};
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

/// The cosine of the angle at the first of three rows between the second and the third, `[rows, rows, rows]`; zero where two of them are the same.
pub(crate) fn cosines(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns.max(1);
    let square = (rows * rows).max(1);
    made(rows * rows * rows, square, |place, output| {
        let first = place / square;
        let (mut directions, mut lengths) = (vec![0f32; x.len()], vec![0f32; rows]);
        point(x, columns, first, &mut directions, &mut lengths);
        let mut stripe = vec![0f32; STRIPE * rows];
        // What stands above the diagonal stands below it too, and is multiplied in the stripes that cross it alone.
        for from in (0..rows).step_by(STRIPE) {
            let to = rows.min(from + STRIPE);
            let left = Matrix::new(&directions[from * columns..to * columns], to - from, columns);
            let right = Matrix::new(&directions[..to * columns], to, columns).transposed();
            let stripe = &mut stripe[..(to - from) * to];
            multiply(stripe, left, right, 1.0, Existing::Replace, Threads::One);
            for (second, stripe) in (from..to).zip(stripe.chunks_exact(to)) {
                output[second * rows..][..second].copy_from_slice(&stripe[..second]);
                output[second * rows + second] = 0.0;
            }
        }
        for second in 0..rows {
            for third in second + 1..rows {
                output[second * rows + third] = output[third * rows + second];
            }
        }
    })
}

/// Rows of a stripe.
const STRIPE: usize = 16;

/// From one row to every other, each of length one, and how far they are; zero to what is the same.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn point(x: &[f32], columns: usize, first: usize, directions: &mut [f32], lengths: &mut [f32]) {
    let one = &x[first * columns..][..columns];
    let rows = directions.chunks_exact_mut(columns).zip(lengths).zip(x.chunks_exact(columns));
    for ((direction, length), other) in rows {
        *length = sum_of_differences(other, one, |difference| difference * difference).sqrt();
        let inverse = inverse(*length);
        for ((direction, other), one) in direction.iter_mut().zip(other).zip(one) {
            *direction = (other - one) * inverse;
        }
    }
}

/// The gradient of the rows from that of their cosines.
pub(crate) fn cosines_backward(x: &[f32], columns: usize, gradient: &[f32]) -> Vec<f32> {
    let rows = x.len() / columns.max(1);
    let tasks = gradient.par_chunks((ROWS * rows * rows).max(1)).enumerate();
    let parts: Vec<Vec<f32>> = tasks.map(|(task, gradient)| turn_all(x, columns, task * ROWS, gradient)).collect();
    let mut found = vec![0f32; x.len()];
    for part in parts {
        found.iter_mut().zip(part).for_each(|(found, part)| *found += part);
    }
    found
}

/// What the angles at some first rows add to the gradient of all rows.
fn turn_all(x: &[f32], columns: usize, first: usize, gradient: &[f32]) -> Vec<f32> {
    let rows = x.len() / columns;
    let mut found = vec![0f32; x.len()];
    let (mut directions, mut lengths) = (vec![0f32; x.len()], vec![0f32; rows]);
    let (mut both, mut slopes) = (vec![0f32; rows * rows], vec![0f32; x.len()]);
    for (first, gradient) in (first..).zip(gradient.chunks_exact(rows * rows)) {
        point(x, columns, first, &mut directions, &mut lengths);
        // Either way round, and nothing of what is zero by definition.
        for second in 0..rows {
            for third in 0..rows {
                both[second * rows + third] = gradient[second * rows + third] + gradient[third * rows + second];
            }
            both[second * rows + second] = 0.0;
        }
        let (left, right) = (Matrix::new(&both, rows, rows), Matrix::new(&directions, rows, columns));
        multiply(&mut slopes, left, right, 1.0, Existing::Replace, Threads::One);
        turn(columns, first, &directions, &lengths, &slopes, &mut found);
    }
    found
}

/// What the gradients of directions from one row add to that of all rows: of a direction only what is across it turns it.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn turn(columns: usize, first: usize, directions: &[f32], lengths: &[f32], slopes: &[f32], found: &mut [f32]) {
    let mut of_first = vec![0f32; columns];
    let rows = directions.chunks_exact(columns).zip(lengths).zip(slopes.chunks_exact(columns));
    for (((direction, length), slope), found) in rows.zip(found.chunks_exact_mut(columns)) {
        let (inverse, along) = (inverse(*length), dot(direction, slope));
        let numbers = found.iter_mut().zip(&mut of_first).zip(direction.iter().zip(slope));
        for ((found, of_first), (direction, slope)) in numbers {
            let across = (slope - direction * along) * inverse;
            *found += across;
            *of_first -= across;
        }
    }
    found[first * columns..][..columns].iter_mut().zip(&of_first).for_each(|(found, of_first)| *found += of_first);
}
