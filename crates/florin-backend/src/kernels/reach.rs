//! How much of a key a soft span lets through, as the logarithm that attention adds to its scores, and the span's gradient.
//!
//! A span of z places with a ramp of R lets `(R + z − d) / R` of a key d places away through, all of it within z and nothing beyond `z + R`.

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::ln;
use super::made::made;
use super::rows::LANES;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 13;

fn rows_of(places: usize) -> usize {
    (NUMBERS / places.max(1)).max(1)
}

/// Logarithms `[spans, places]` for spans whose queries stand at one place after another, from the first again and again.
pub(crate) fn forward(spans: &[f32], places: usize, ramp: f32) -> Vec<f32> {
    made(spans.len() * places, rows_of(places) * places, |first, output| {
        let first = first / places;
        logarithms(&spans[first..][..output.len() / places], places, ramp, first, output);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn logarithms(spans: &[f32], places: usize, ramp: f32, first: usize, output: &mut [f32]) {
    for ((row, span), output) in (first..).zip(spans).zip(output.chunks_exact_mut(places)) {
        let query = (row % places) as f32;
        for (key, output) in output.iter_mut().enumerate() {
            let reach = (span + ramp - (query - key as f32).abs()) / ramp;
            *output = ln(if reach > 1.0 { 1.0 } else { reach });
        }
    }
}

/// The gradient of each span: only keys on the ramp move with it.
pub(crate) fn backward(spans: &[f32], places: usize, ramp: f32, gradient: &[f32]) -> Vec<f32> {
    let mut found = vec![0f32; spans.len()];
    let rows = rows_of(places);
    let tasks = found.par_chunks_mut(rows).zip(spans.par_chunks(rows)).zip(gradient.par_chunks(rows * places.max(1)));
    tasks.enumerate().for_each(|(task, ((found, spans), gradient))| {
        slopes(spans, places, ramp, gradient, task * rows, found);
    });
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn slopes(spans: &[f32], places: usize, ramp: f32, gradient: &[f32], first: usize, found: &mut [f32]) {
    let rows = found.iter_mut().zip(spans).zip(gradient.chunks_exact(places));
    for (row, ((found, span), gradient)) in (first..).zip(rows) {
        let query = (row % places) as f32;
        let mut lanes = [0f32; LANES];
        for (part, gradient) in gradient.chunks(LANES).enumerate() {
            for (lane, gradient) in gradient.iter().enumerate() {
                let left = span + ramp - (query - (part * LANES + lane) as f32).abs();
                lanes[lane] += if left > 0.0 && left < ramp { gradient / left } else { 0.0 };
            }
        }
        *found = lanes.into_iter().sum();
    }
}
