//! Softmax of rows, its logarithm, its sparse sister, the logarithm at one class of each row, and their gradients.
//!
//! The last makes no matrix of logarithms: a vocabulary of thirty thousand words is read once on the way there and once on the way back.

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::exp;
use super::made::made;
use super::rows::{LANES, dot, max, sum, sum_of};

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 13;

/// Which function of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `e^x / Σ e^x`
    Share,
    /// `x - ln Σ e^x`
    Logarithm,
    /// The nearest point of the simplex, see [`crate::sparsemax()`]; zeros where all is minus infinity.
    Sparse,
}

/// Rows that one task takes.
fn rows_of(columns: usize) -> usize {
    (NUMBERS / columns.max(1)).max(1)
}

/// The function of every row.
pub(crate) fn forward(x: &[f32], columns: usize, form: Form) -> Vec<f32> {
    made(x.len(), rows_of(columns) * columns, |first, output| {
        rows(&x[first..first + output.len()], columns, form, output);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn rows(x: &[f32], columns: usize, form: Form, output: &mut [f32]) {
    for (x, output) in x.chunks_exact(columns).zip(output.chunks_exact_mut(columns)) {
        let most = max(x);
        if form == Form::Sparse {
            sparse(x, most, output);
            continue;
        }
        for (output, x) in output.iter_mut().zip(x) {
            *output = exp(*x - most);
        }
        let total = sum(output);
        if form == Form::Share {
            let inverse = 1.0 / total;
            output.iter_mut().for_each(|value| *value *= inverse);
        } else {
            let logarithm = total.ln();
            for (output, x) in output.iter_mut().zip(x) {
                *output = (*x - most) - logarithm;
            }
        }
    }
}

/// What stands above a threshold, the rest being zero; the threshold is such that all sums to one.
#[inline(always)]
fn sparse(x: &[f32], most: f32, output: &mut [f32]) {
    if most == f32::NEG_INFINITY {
        output.fill(0.0);
        return;
    }
    // Scores count by their distance from the largest alone: all digits are left to those that matter.
    for (output, x) in output.iter_mut().zip(x) {
        *output = *x - most;
    }
    // What lies one below the largest can have no weight. Of what is left some is below the threshold that all of it would need, and so on:
    // thresholds rise until nothing falls below.
    let (mut threshold, mut before) = (-1f32, f32::INFINITY);
    loop {
        let above = |x: f32| x > threshold;
        let count = sum_of(output, |x| if above(x) { 1.0 } else { 0.0 });
        if count >= before || count == 0.0 {
            break;
        }
        before = count;
        threshold = (sum_of(output, |x| if above(x) { x } else { 0.0 }) - 1.0) / count;
    }
    for output in output {
        *output = if *output > threshold { *output - threshold } else { 0.0 };
    }
}

/// The gradient of the rows from the output and its gradient.
pub(crate) fn backward(output: &[f32], gradient: &[f32], columns: usize, form: Form) -> Vec<f32> {
    made(output.len(), rows_of(columns) * columns, |first, found| {
        let of = first..first + found.len();
        rows_backward(&output[of.clone()], &gradient[of], columns, form, found);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn rows_backward(output: &[f32], gradient: &[f32], columns: usize, form: Form, found: &mut [f32]) {
    let rows = found.chunks_exact_mut(columns).zip(output.chunks_exact(columns)).zip(gradient.chunks_exact(columns));
    for ((found, output), gradient) in rows {
        let level = match form {
            Form::Share => dot(output, gradient),
            Form::Logarithm => sum(gradient),
            Form::Sparse => {
                let mut lanes = [[0f32; LANES]; 2];
                for (output, gradient) in output.chunks(LANES).zip(gradient.chunks(LANES)) {
                    for (lane, (output, gradient)) in output.iter().zip(gradient).enumerate() {
                        lanes[0][lane] += if *output > 0.0 { *gradient } else { 0.0 };
                        lanes[1][lane] += if *output > 0.0 { 1.0 } else { 0.0 };
                    }
                }
                let [total, count] = lanes.map(|lanes| lanes.into_iter().sum::<f32>());
                total / if count > 1.0 { count } else { 1.0 }
            }
        };
        for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
            *found = match form {
                Form::Share => output * (gradient - level),
                Form::Logarithm => gradient - exp(*output) * level,
                Form::Sparse => {
                    if *output > 0.0 {
                        gradient - level
                    } else {
                        0.0
                    }
                }
            };
        }
    }
}

/// The class of a row that does not count: its value is zero, and so is its gradient, whatever stands in it.
pub(crate) const NO_CLASS: usize = usize::MAX;

/// The logarithm of each row's softmax at its class, a share `smoothing` of it replaced by the mean over all classes, and the logarithm of its
/// sum `ln Σ e^x`.
///
/// # Panics
///
/// If a class is none of the row's.
pub(crate) fn log_likelihood(x: &[f32], columns: usize, classes: &[usize], smoothing: f32) -> (Vec<f32>, Vec<f32>) {
    let is_one = |class: usize| class < columns || class == NO_CLASS;
    assert!(classes.iter().all(|&class| is_one(class)), "expected classes below {columns}");
    let (mut picked, mut sums) = (vec![0f32; classes.len()], vec![0f32; classes.len()]);
    let rows = rows_of(columns);
    let tasks = picked.par_chunks_mut(rows).zip(sums.par_chunks_mut(rows));
    let tasks = tasks.zip(x.par_chunks(rows * columns.max(1))).zip(classes.par_chunks(rows));
    tasks.for_each(|(((picked, sums), x), classes)| pick(x, columns, classes, smoothing, picked, sums));
    (picked, sums)
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn pick(x: &[f32], columns: usize, classes: &[usize], smoothing: f32, picked: &mut [f32], sums: &mut [f32]) {
    let rows = x.chunks_exact(columns).zip(classes).zip(picked).zip(sums);
    for (((x, class), picked), total) in rows {
        if *class == NO_CLASS {
            continue;
        }
        let most = max(x);
        let logarithm = sum_of(x, |x| exp(x - most)).ln();
        *picked = (x[*class] - most) - logarithm;
        *total = most + logarithm;
        if smoothing > 0.0 {
            let mean = sum_of(x, |x| x - most) / columns as f32 - logarithm;
            *picked += smoothing * (mean - *picked);
        }
    }
}

/// The gradient of the rows: `g (1 - p)` at the class and `-g p` elsewhere, one spread over the classes as far as the target is.
pub(crate) fn log_likelihood_backward(
    x: &[f32],
    columns: usize,
    classes: &[usize],
    smoothing: f32,
    sums: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let mut found = vec![0f32; x.len()];
    let rows = rows_of(columns);
    let tasks = found.par_chunks_mut(rows * columns.max(1)).zip(x.par_chunks(rows * columns.max(1)));
    let tasks = tasks.zip(classes.par_chunks(rows)).zip(sums.par_chunks(rows)).zip(gradient.par_chunks(rows));
    tasks.for_each(|((((found, x), classes), sums), gradient)| {
        unpick(x, columns, classes, smoothing, sums, gradient, found);
    });
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn unpick(
    x: &[f32],
    columns: usize,
    classes: &[usize],
    smoothing: f32,
    sums: &[f32],
    gradient: &[f32],
    found: &mut [f32],
) {
    let level = smoothing / columns as f32;
    let rows = found.chunks_exact_mut(columns).zip(x.chunks_exact(columns)).zip(classes).zip(sums).zip(gradient);
    for ((((found, x), class), sum), gradient) in rows {
        // Rows that do not count have no gradient, however odd their numbers are.
        if *gradient == 0.0 || *class == NO_CLASS {
            continue;
        }
        for (found, x) in found.iter_mut().zip(x) {
            *found = gradient * (level - exp(*x - sum));
        }
        found[*class] += gradient * (1.0 - smoothing);
    }
}
