//! Square windows of a grid of vectors, shifted or not: which vectors a window holds and which of them see each other.
//!
//! Paper: Liu et al. 2021 (Swin), <https://arxiv.org/abs/2103.14030>
//! Difference: none. A shift moves windows over the edges, where the two sides of the grid meet in one window and do not see each other;
//! windows that reach beyond the grid hold zeros there, which are seen, as in transformers.

use burn::prelude::*;

use crate::zeros::with_zeros;

/// How a grid is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Rows and columns.
    pub(crate) grid: [usize; 2],
    /// Side of a window.
    pub(crate) side: usize,
    /// How far windows stand from the first corner, down and to the right; less than a side.
    pub(crate) shift: usize,
}

impl Windows {
    /// Vectors of a window.
    pub(crate) fn places(&self) -> usize {
        self.side * self.side
    }

    /// Windows of a grid.
    fn count(&self) -> usize {
        self.grid.iter().map(|size| size.div_ceil(self.side)).product()
    }

    /// The windows, row by row.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, rows · columns, dim]`
    /// - output: `[batch · windows, side · side, dim]`
    pub(crate) fn cut(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, beyond, dim] = x.dims();
        let order: Vec<i32> = self.order().iter().map(|place| place.unwrap_or(beyond) as i32).collect();
        let x = if order.len() > beyond { with_zeros(x, 1, 0, 1) } else { x };
        x.clone().select(1, places(order, &x.device())).reshape([batch * self.count(), self.places(), dim])
    }

    /// The grid again.
    ///
    /// # Shapes
    ///
    /// - windows: `[batch · windows, side · side, dim]`
    /// - output: `[batch, rows · columns, dim]`
    pub(crate) fn joined(&self, windows: Tensor<3>) -> Tensor<3> {
        let [all, _, dim] = windows.dims();
        let mut order = vec![0; self.grid[0] * self.grid[1]];
        for (seen, place) in self.order().into_iter().enumerate() {
            if let Some(place) = place {
                order[place] = seen as i32;
            }
        }
        let (count, device) = (self.count(), windows.device());
        windows.reshape([all / count, count * self.places(), dim]).select(1, places(order, &device))
    }

    /// Which places of a window do not see each other, true where hidden; none where windows are not shifted.
    ///
    /// # Shapes
    ///
    /// - output: `[batch · windows, 1, side · side, side · side]`
    pub(crate) fn hidden(&self, batch: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        if self.shift == 0 {
            return None;
        }
        let (count, places) = (self.count(), self.places());
        let regions: Vec<usize> =
            self.walk().map(|[row, column]| self.region(0, row) * 3 + self.region(1, column)).collect();
        let of_window = |window: &[usize]| -> Vec<bool> {
            window.iter().flat_map(|query| window.iter().map(move |key| key != query)).collect()
        };
        let hidden: Vec<bool> = regions.chunks(places).flat_map(of_window).collect();
        let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, [1, count, places, places]), device);
        Some(hidden.expand([batch, count, places, places]).reshape([batch * count, 1, places, places]))
    }

    /// The row of a bias table for every pair of places: by how far the query stands below the key and to the right of it.
    ///
    /// # Shapes
    ///
    /// - output: `[1, places · places]`, queries first, below `(2 · side − 1)²`
    pub(crate) fn distances(&self, device: &Device) -> Tensor<2, Int> {
        let (side, all) = (self.side, self.places());
        let distance = |query: usize, key: usize| {
            let (down, right) = (query / side + side - 1 - key / side, query % side + side - 1 - key % side);
            (down * (2 * side - 1) + right) as i32
        };
        let rows: Vec<i32> = (0..all).flat_map(|query| (0..all).map(move |key| distance(query, key))).collect();
        Tensor::from_data(TensorData::new(rows, [1, all * all]), device)
    }

    /// Row and column of every place of every window, counted from the first window's corner.
    fn walk(&self) -> impl Iterator<Item = [usize; 2]> {
        let (side, [rows, columns]) = (self.side, self.grid.map(|size| size.div_ceil(self.side)));
        let windows = (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]));
        windows.flat_map(move |[row, column]| {
            (0..side * side).map(move |place| [row * side + place / side, column * side + place % side])
        })
    }

    /// The vector at every place of every window; none beyond the grid.
    fn order(&self) -> Vec<Option<usize>> {
        let [height, width] = self.grid.map(|size| size.next_multiple_of(self.side));
        let vector = |[row, column]: [usize; 2]| {
            let (row, column) = ((row + self.shift) % height, (column + self.shift) % width);
            (row < self.grid[0] && column < self.grid[1]).then_some(row * self.grid[1] + column)
        };
        self.walk().map(vector).collect()
    }

    /// Which part of a side a place belongs to: before the last window, in it, or from the other end of the grid.
    fn region(&self, side: usize, place: usize) -> usize {
        let size = self.grid[side].next_multiple_of(self.side);
        usize::from(place >= size - self.side) + usize::from(place >= size - self.shift)
    }
}

fn places(order: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let count = order.len();
    Tensor::from_data(TensorData::new(order, [count]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(windows: Windows) -> (Vec<f32>, Vec<f32>) {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let count = windows.grid[0] * windows.grid[1];
        let values: Vec<f32> = (1..=count).map(|value| value as f32).collect();
        let cut = windows.cut(Tensor::from_data(TensorData::new(values, [1, count, 1]), &device));
        let values = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        (values(cut.clone()), values(windows.joined(cut)))
    }

    #[test]
    fn windows_are_cut_row_by_row_and_put_together_again() {
        let (seen, joined) = cut(Windows { grid: [2, 4], side: 2, shift: 0 });
        assert_eq!(seen, [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
        assert_eq!(joined, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (seen, joined) = cut(Windows { grid: [2, 4], side: 2, shift: 1 });
        assert_eq!(seen, [6.0, 7.0, 2.0, 3.0, 8.0, 5.0, 4.0, 1.0], "windows go over the edges");
        assert_eq!(joined, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (seen, joined) = cut(Windows { grid: [1, 3], side: 2, shift: 0 });
        assert_eq!(seen, [1.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0], "beyond the grid there are zeros");
        assert_eq!(joined, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn ends_of_the_grid_that_meet_in_a_window_do_not_see_each_other() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let windows = Windows { grid: [2, 4], side: 2, shift: 1 };
        assert!(Windows { shift: 0, ..windows }.hidden(1, &device).is_none());
        let hidden = windows.hidden(2, &device).expect("they are shifted");
        assert_eq!(hidden.dims(), [4, 1, 4, 4]);
        let hidden = hidden.into_data().try_to_vec::<bool>().expect("marks");
        // The first window holds two rows of which the second comes from the top; the second one all four corners.
        let first = [
            [false, false, true, true],
            [false, false, true, true],
            [true, true, false, false],
            [true, true, false, false],
        ];
        assert_eq!(hidden[..16], first.concat());
        let corners: Vec<bool> = (0..16).map(|pair| pair / 4 != pair % 4).collect();
        assert_eq!(hidden[16..32], corners);
        assert_eq!(hidden[32..48], hidden[..16], "the same in every row of a batch");
    }

    #[test]
    fn pairs_at_one_distance_share_a_row_of_the_table() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let rows = Windows { grid: [4, 4], side: 2, shift: 0 }.distances(&device);
        let rows = rows.into_data().convert::<i32>().try_to_vec::<i32>().expect("whole numbers");
        assert_eq!(rows, [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]);
    }
}
