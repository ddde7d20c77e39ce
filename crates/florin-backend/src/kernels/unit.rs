//! Rows of length one, and their gradient.

use multiversion::multiversion;
use rayon::prelude::*;

use super::rows::dot;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 14;

fn rows_of(columns: usize) -> usize {
    (NUMBERS / columns.max(1)).max(1)
}

/// Every row over its length, which is not taken as less than the root of `least`; and what it was divided by.
pub(crate) fn forward(x: &[f32], columns: usize, least: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut output, mut lengths) = (vec![0f32; x.len()], vec![0f32; x.len() / columns.max(1)]);
    let rows = rows_of(columns);
    let numbers = rows * columns.max(1);
    let tasks = output.par_chunks_mut(numbers).zip(x.par_chunks(numbers)).zip(lengths.par_chunks_mut(rows));
    tasks.for_each(|((output, x), lengths)| shorten(x, columns, least, output, lengths));
    (output, lengths)
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn shorten(x: &[f32], columns: usize, least: f32, output: &mut [f32], lengths: &mut [f32]) {
    let rows = x.chunks_exact(columns).zip(output.chunks_exact_mut(columns)).zip(lengths);
    for ((x, output), length) in rows {
        let square = dot(x, x);
        *length = if square < least { least } else { square }.sqrt();
        output.iter_mut().zip(x).for_each(|(output, x)| *output = x / *length);
    }
}

/// The gradient of the rows: what of it turns them, over their length; of a row that was too short to turn, all of it.
pub(crate) fn backward(output: &[f32], lengths: &[f32], gradient: &[f32], columns: usize, least: f32) -> Vec<f32> {
    let mut found = vec![0f32; output.len()];
    let rows = rows_of(columns);
    let numbers = rows * columns.max(1);
    let tasks = found.par_chunks_mut(numbers).zip(output.par_chunks(numbers)).zip(gradient.par_chunks(numbers));
    let tasks = tasks.zip(lengths.par_chunks(rows));
    tasks.for_each(|(((found, output), gradient), lengths)| turn(output, lengths, gradient, columns, least, found));
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn turn(output: &[f32], lengths: &[f32], gradient: &[f32], columns: usize, least: f32, found: &mut [f32]) {
    let rows = found.chunks_exact_mut(columns).zip(output.chunks_exact(columns)).zip(gradient.chunks_exact(columns));
    for (((found, output), gradient), length) in rows.zip(lengths) {
        let along = if *length <= least.sqrt() { 0.0 } else { dot(output, gradient) };
        for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
            *found = (gradient - output * along) / *length;
        }
    }
}
