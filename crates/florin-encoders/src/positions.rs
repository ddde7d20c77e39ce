//! Positions that were learned on one grid of patches, for a grid of other sides: interpolation as PyTorch has it
//! (`align_corners=False`); and the weights of the same between corners.
//!
//! A new position is a weighted sum of old ones: of the sixteen around it by Keys' cubic with a slope of -0.75, or of the four around it
//! by their distance; beyond the edge the outermost is repeated. The weights are a matrix, so that gradients reach the table.

use burn::prelude::*;

use crate::antialiased_grid::antialiased_cubic;

/// The slope of the cubic at one step from its centre.
const A: f64 = -0.75;

/// How a table of positions becomes one for another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// By the sixteen positions around a new one.
    Bicubic,
    /// By more of them where the grid shrinks, so that none is passed over.
    AntialiasedBicubic,
}

/// Positions for the grid `to`; those of tokens that stand before the patches stay as they are.
///
/// # Shapes
///
/// - table: `[1, before + rows · columns of from, dim]`
/// - from, to: rows and columns
/// - output: `[1, before + rows · columns of to, dim]`
pub(crate) fn resized_positions(table: Tensor<3>, from: [usize; 2], to: [usize; 2], resizing: Resizing) -> Tensor<3> {
    if from == to {
        return table;
    }
    let ([_, count, dim], patches) = (table.dims(), from[0] * from[1]);
    let before = count - patches;
    let grid = table.clone().narrow(1, before, patches).reshape([patches, dim]);
    let along = match resizing {
        Resizing::Bicubic => cubic,
        Resizing::AntialiasedBicubic => antialiased_cubic,
    };
    let grid = stretched(grid, &along(from[0], to[0]), &along(from[1], to[1])).unsqueeze_dim(0);
    if before == 0 { grid } else { Tensor::cat(vec![table.narrow(1, 0, before), grid], 1) }
}

/// A table for a grid, from the weights of old rows for each new row and of old columns for each new column.
///
/// # Shapes
///
/// - table: `[old rows · old columns, dim]`, row by row
/// - output: `[new rows · new columns, dim]`
pub(crate) fn stretched(table: Tensor<2>, rows: &[Vec<f64>], columns: &[Vec<f64>]) -> Tensor<2> {
    let [count, _] = table.dims();
    let mut weights = Vec::with_capacity(rows.len() * columns.len() * count);
    for row in rows {
        for column in columns {
            weights.extend(row.iter().flat_map(|a| column.iter().map(move |b| (a * b) as f32)));
        }
    }
    let weights = TensorData::new(weights, [rows.len() * columns.len(), count]);
    florin_backend::product(Tensor::from_data(weights, &table.device()), table)
}

/// Keys' cubic up to a distance of one from its centre.
pub(crate) fn within(slope: f64, x: f64) -> f64 {
    ((slope + 2.0) * x - (slope + 3.0)) * x * x + 1.0
}

/// The same from one to two.
pub(crate) fn beyond(slope: f64, x: f64) -> f64 {
    ((x - 5.0) * x + 8.0) * x * slope - 4.0 * slope
}

/// The weights of `from` old places for each of `to` new ones along one side; each row sums to one.
fn cubic(from: usize, to: usize) -> Vec<Vec<f64>> {
    cubic_at(from, (0..to).map(|new| (new as f64 + 0.5) * from as f64 / to as f64 - 0.5))
}

/// The same where the first new place is the first old one and the last the last (`align_corners=True`).
pub(crate) fn cubic_between_corners(from: usize, to: usize) -> Vec<Vec<f64>> {
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    cubic_at(from, (0..to).map(|new| new as f64 * step))
}

/// The weights of `from` old places for new ones that stand anywhere between them.
fn cubic_at(from: usize, places: impl Iterator<Item = f64>) -> Vec<Vec<f64>> {
    let row = |place: f64| {
        let (first, t) = (place.floor(), place - place.floor());
        let mut weights = vec![0.0; from];
        for (step, weight) in
            [beyond(A, t + 1.0), within(A, t), within(A, 1.0 - t), beyond(A, 2.0 - t)].into_iter().enumerate()
        {
            let old = (first + step as f64 - 1.0).clamp(0.0, from as f64 - 1.0);
            weights[old as usize] += weight;
        }
        weights
    };
    places.map(row).collect()
}

/// The same of a straight line between two old places.
pub(crate) fn bilinear(from: usize, to: usize) -> Vec<Vec<f64>> {
    let row = |new: usize| {
        let place = ((new as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let (first, t) = ((place as usize).min(from - 1), place - place.floor());
        let mut weights = vec![0.0; from];
        weights[first] += 1.0 - t;
        weights[(first + 1).min(from - 1)] += t;
        weights
    };
    (0..to).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_place_is_a_cubic_mix_of_four_old_ones_and_the_outermost_is_repeated() {
        assert_eq!(cubic(1, 2), [[1.0], [1.0]]);
        assert_eq!(cubic(3, 3)[1], [0.0, 1.0, 0.0]);
        // Half way between the second place and the third: the paper's curve at distances of 3/2, 1/2, 1/2 and 3/2.
        assert_eq!(cubic(4, 2)[0], [0.59375 - 0.09375, 0.59375, -0.09375, 0.0]);
        assert!(cubic(5, 7).iter().all(|weights| (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    }

    #[test]
    fn between_corners_the_first_and_the_last_place_stay() {
        let weights = cubic_between_corners(3, 5);
        assert_eq!([&weights[0], &weights[2], &weights[4]], [&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
        assert_eq!(weights[1], [0.59375 - 0.09375, 0.59375, -0.09375]);
        assert_eq!(cubic_between_corners(1, 2), [[1.0], [1.0]]);
    }

    #[test]
    fn the_grid_changes_and_what_stands_before_it_does_not() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let table = Tensor::<3>::from_floats([[[9.0], [0.0], [1.0], [2.0], [3.0]]], &device);
        let found = resized_positions(table, [2, 2], [1, 1], Resizing::Bicubic);
        let found = found.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found, [9.0, 1.5]);
    }
}
