//! A table of positions for a grid of other sides, by antialiased interpolation as PyTorch has it.
//!
//! Every new position is a weighted mean of old ones, under a curve wide enough that none is passed over when the grid shrinks: a
//! triangle, or Keys' cubic with a slope of -0.5. The weights are a matrix, so that gradients reach the table.
//!
//! Difference: a grid of one column. PyTorch 2.15 gives its rows all the value of the first unless memory is in channels-last order;
//! here it is interpolated like any other.

use burn::prelude::*;

use crate::positions::{beyond, stretched, within};

/// # Shapes
///
/// - table: `[side · side, dim]`, row by row
/// - output: `[rows · columns, dim]`
pub(crate) fn antialiased_grid(table: Tensor<2>, [rows, columns]: [usize; 2]) -> Tensor<2> {
    let [count, _] = table.dims();
    let side = count.isqrt();
    if [rows, columns] == [side, side] {
        return table;
    }
    stretched(table, &triangle(side, rows), &triangle(side, columns))
}

fn triangle(from: usize, to: usize) -> Vec<Vec<f64>> {
    weights([from, to], 1.0, |distance| (1.0 - distance).max(0.0))
}

/// The weights of a cubic along one side.
pub(crate) fn antialiased_cubic(from: usize, to: usize) -> Vec<Vec<f64>> {
    const A: f64 = -0.5;
    weights([from, to], 2.0, |distance| if distance < 1.0 { within(A, distance) } else { beyond(A, distance) })
}

/// The weights of `from` old places for each of `to` new ones along one side, by a curve over the distance that is zero from `radius`
/// on; each row sums to one.
fn weights([from, to]: [usize; 2], radius: f64, curve: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let reach = radius * stretch;
    let row = |new: usize| {
        let centre = scale * (new as f64 + 0.5);
        let first = ((centre - reach + 0.5) as usize).min(from);
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weight = |old: usize| {
            let distance = ((old as f64 - centre + 0.5) / stretch).abs();
            if (first..end).contains(&old) && distance < radius { curve(distance) } else { 0.0 }
        };
        let weights: Vec<f64> = (0..from).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    };
    (0..to).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunken_side_is_the_mean_of_all_that_it_covers_and_a_grown_one_lies_between() {
        assert_eq!(triangle(2, 1), [[0.5, 0.5]]);
        assert_eq!(triangle(1, 3), [[1.0], [1.0], [1.0]]);
        let grown = triangle(2, 4);
        assert_eq!(grown[0], [1.0, 0.0]);
        assert_eq!(grown[1], [0.75, 0.25]);
    }

    #[test]
    fn a_cubic_keeps_what_keeps_its_size_and_reaches_twice_as_far_as_a_triangle() {
        assert_eq!(antialiased_cubic(3, 3)[1], [0.0, 1.0, 0.0]);
        let shrunken = &antialiased_cubic(8, 2)[0];
        assert!(shrunken[..6].iter().all(|&weight| weight > 0.0) && shrunken[7] < 0.0, "{shrunken:?}");
        assert!((shrunken.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
