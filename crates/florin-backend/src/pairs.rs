//! Every row of a batch beside every other.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedPairs, serves};
use crate::product;

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

/// The cosine of the angle at the first of three rows between the second and the third; zero where two of them are one or the same.
///
/// # Shapes
///
/// - x: `[rows, dim]`, output: `[first row, second row, third row]`
pub fn angle_cosines(x: Tensor<2>) -> Tensor<3> {
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_angle_cosines(x.into_dispatch()));
    }
    let [rows, _] = x.dims();
    let differences = differences(x);
    let lengths = lengths(&differences);
    let same = lengths.clone().equal_elem(0.0);
    let directions = differences / lengths.mask_fill(same, 1.0).unsqueeze_dim::<3>(2);
    let cosines = product(directions.clone(), directions.swap_dims(1, 2));
    let one: Vec<bool> = (0..rows * rows).map(|place| place / rows == place % rows).collect();
    let one = Tensor::<3, Bool>::from_data(TensorData::new(one, [1, rows, rows]), &cosines.device());
    cosines.mask_fill(one.expand([rows; 3]), 0.0)
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
