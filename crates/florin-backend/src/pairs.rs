//! Every row of a batch beside every other.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedPairs, serves};

/// How far every row lies from every other; zero, without gradient, where two are the same.
///
/// # Shapes
///
/// - x: `[rows, dim]`, output: `[rows, rows]`
pub fn distances(x: Tensor<2>) -> Tensor<2> {
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_distances(x.into_dispatch()));
    }
    lengths(&differences(x))
}

/// From every row to every other, of length one; zero, without gradient, where two are the same.
///
/// # Shapes
///
/// - x: `[rows, dim]`, output: `[first row, second row, dim]`
pub fn directions(x: Tensor<2>) -> Tensor<3> {
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_directions(x.into_dispatch()));
    }
    let differences = differences(x);
    let lengths = lengths(&differences);
    let same = lengths.clone().equal_elem(0.0);
    differences / lengths.mask_fill(same, 1.0).unsqueeze_dim::<3>(2)
}

/// From the first to the second.
fn differences(x: Tensor<2>) -> Tensor<3> {
    x.clone().unsqueeze_dim::<3>(0) - x.unsqueeze_dim::<3>(1)
}

fn lengths(differences: &Tensor<3>) -> Tensor<2> {
    let [rows, _, _] = differences.dims();
    let squares = differences.clone().square().sum_dim(2).reshape([rows, rows]);
    let same = squares.clone().equal_elem(0.0);
    // The root of zero has no slope: what is the same counts as one apart, and then as zero.
    squares.mask_fill(same.clone(), 1.0).sqrt().mask_fill(same, 0.0)
}
