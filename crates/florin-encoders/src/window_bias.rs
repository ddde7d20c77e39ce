//! A learned bias of attention's scores by how far apart two patches stand in their grid.
//!
//! One number a head for every distance down and across, and three more: from the class token to a patch, from a patch to the class
//! token, and from the class token to itself.
//!
//! Paper: Bao et al. 2021 (BEiT), <https://arxiv.org/abs/2106.08254>
//! Difference: for a grid of other sides the table is interpolated bilinearly, as in transformers (after MiDaS 3.1).

use burn::module::Param;
use burn::prelude::*;
use florin_nn::zeros;

use crate::positions::{bilinear, stretched};

/// Numbers that are not of two patches.
const OF_CLASS_TOKEN: usize = 3;

/// The bias, zero at the start.
#[derive(Module, Debug)]
pub struct WindowBias {
    /// `[(2 · rows - 1) · (2 · columns - 1) + 3, heads]`, the distances down and, within one, across from the most negative.
    pub table: Param<Tensor<2>>,
    #[module(skip)]
    grid: [usize; 2],
}

impl WindowBias {
    /// For a grid of rows and columns.
    pub fn new(grid: [usize; 2], heads: usize, device: &Device) -> Self {
        let [down, across] = distances(grid);
        Self { table: zeros([down * across + OF_CLASS_TOKEN, heads], device), grid }
    }

    /// # Shapes
    ///
    /// - grid: rows and columns of patches
    /// - output: `[1, heads, 1 + patches, 1 + patches]`, from a query (third dimension) to a key (fourth)
    pub fn forward(&self, grid: [usize; 2]) -> Tensor<4> {
        let table = self.table_for(grid);
        let tokens = 1 + grid[0] * grid[1];
        let places = TensorData::new(places(grid), [1, tokens * tokens]);
        let bias = florin_backend::embedding(table.clone(), Tensor::from_data(places, &table.device()));
        let [_, _, heads] = bias.dims();
        bias.reshape([1, tokens, tokens, heads]).permute([0, 3, 1, 2])
    }

    /// The table for another grid; what is the class token's stays as it is.
    fn table_for(&self, grid: [usize; 2]) -> Tensor<2> {
        let table = self.table.val();
        if grid == self.grid {
            return table;
        }
        let ([down, across], [new_down, new_across]) = (distances(self.grid), distances(grid));
        let patches = table.clone().narrow(0, 0, down * across);
        let patches = stretched(patches, &bilinear(down, new_down), &bilinear(across, new_across));
        Tensor::cat(vec![patches, table.narrow(0, down * across, OF_CLASS_TOKEN)], 0)
    }
}

/// How many distances there are down and across.
fn distances(grid: [usize; 2]) -> [usize; 2] {
    grid.map(|side| 2 * side - 1)
}

/// Where in the table the bias of each query to each key stands, query by query.
fn places([rows, columns]: [usize; 2]) -> Vec<i32> {
    let [down, across] = distances([rows, columns]);
    let patches = rows * columns;
    let place = |query: usize, key: usize| match (query, key) {
        (0, 0) => down * across + 2,
        (_, 0) => down * across + 1,
        (0, _) => down * across,
        (query, key) => {
            let [[row, column], [key_row, key_column]] =
                [query - 1, key - 1].map(|patch| [patch / columns, patch % columns]);
            (row + rows - 1 - key_row) * across + (column + columns - 1 - key_column)
        }
    };
    (0..=patches).flat_map(|query| (0..=patches).map(move |key| place(query, key) as i32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_from_the_most_negative_and_the_class_token_has_three_of_its_own() {
        // Two rows of three: 15 distances, the middle one between a patch and itself.
        let places = places([2, 3]);
        let place = |query: usize, key: usize| places[query * 7 + key];
        assert_eq!([place(0, 4), place(4, 0), place(0, 0)], [15, 16, 17]);
        assert!((1..7).all(|patch| place(patch, patch) == 7));
        assert_eq!([place(1, 2), place(2, 1), place(4, 1), place(1, 6)], [6, 8, 12, 0]);
    }

    #[test]
    fn a_table_for_another_grid_keeps_the_class_tokens_numbers() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut bias = WindowBias::new([1, 1], 1, &device);
        bias.table = Param::from_tensor(Tensor::from_floats([[5.0], [1.0], [2.0], [3.0]], &device));
        let found = bias.forward([1, 2]).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found, [3.0, 1.0, 1.0, 2.0, 5.0, 5.0, 2.0, 5.0, 5.0]);
    }
}
