//! A linear layer with its bias and activation, and its gradients.

use multiversion::multiversion;
use rayon::prelude::*;

use super::activation;
use super::made::made;
use super::packed;
use super::packed::bf16::Bf16;
use super::packed::single::Single;
use super::product::{Existing, Matrix, Threads, multiplied, multiply};
use crate::Activation;
use crate::mixed::Factors;

/// Rows beside which the making of panels costs little, and less than their order gains over the crate gemm.
const WORTH_PACKING: usize = 256;
/// Rows that one task takes.
const ROWS: usize = 32;

/// `f(left · right + bias)`, `[rows, output]`.
///
/// # Panics
///
/// If the factors do not fit together, or bfloat16 is wanted of a matrix with gaps.
pub(crate) fn product(
    left: Matrix,
    right: Matrix,
    bias: Option<&[f32]>,
    kind: Activation,
    factors: Factors,
) -> Vec<f32> {
    let ([rows, input], [_, output]) = (left.sizes(), right.sizes());
    let gapless = left.without_gaps().zip(right.without_gaps()).filter(|_| input * output > 0);
    if factors == Factors::Bf16 && rows * input * output > 0 {
        let (left, right) = gapless.expect("matrices without gaps");
        return packed::product(left, &Bf16::of_matrix(right, input, output), bias, kind);
    }
    if let Some((left, right)) = gapless.filter(|_| rows >= WORTH_PACKING) {
        return packed::product(left, &Single::pack(right, input, output), bias, kind);
    }
    let values = plain_product(left, right, bias);
    if kind == Activation::Identity { values } else { activated(&values, kind) }
}

#[expect(unsafe_code, reason = "memory that is written whole need not be filled with zeros first")]
fn plain_product(x: Matrix, weight: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let Some(bias) = bias else { return multiplied(x, weight) };
    let ([rows, _], [_, output]) = (x.sizes(), weight.sizes());
    let mut values = Vec::with_capacity(rows * output);
    values.spare_capacity_mut()[..rows * output].par_chunks_mut((ROWS * output).max(1)).for_each(|rows| {
        rows.chunks_exact_mut(output).for_each(|row| {
            row.write_copy_of_slice(bias);
        });
    });
    // SAFETY: every row has been written.
    unsafe { values.set_len(rows * output) };
    multiply(&mut values, x, weight, 1.0, Existing::Add, Threads::All);
    values
}

/// Numbers that one task of an elementwise pass takes.
const NUMBERS: usize = 1 << 13;

/// The activation of every number, the numbers kept.
pub(crate) fn activated(values: &[f32], kind: Activation) -> Vec<f32> {
    made(values.len(), NUMBERS, |first, output| {
        output.copy_from_slice(&values[first..first + output.len()]);
        activation::apply(kind, output);
    })
}

/// The gradient before the activation: `gradient · f'(z)`.
pub(crate) fn before_activation(z: &[f32], gradient: &[f32], kind: Activation) -> Vec<f32> {
    made(z.len(), NUMBERS, |first, output| {
        let of = first..first + output.len();
        activation::backward(kind, &z[of.clone()], &gradient[of], output);
    })
}

/// Sums over rows, `[output]`.
pub(crate) fn column_sums(values: &[f32], output: usize) -> Vec<f32> {
    let tasks = values.len().div_ceil(ROWS * output);
    let mut partial = vec![0f32; tasks * output];
    partial.par_chunks_mut(output).zip(values.par_chunks(ROWS * output)).for_each(|(sums, rows)| add_rows(sums, rows));
    let mut sums = vec![0f32; output];
    for partial in partial.chunks_exact(output) {
        sums.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
    sums
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn add_rows(sums: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
