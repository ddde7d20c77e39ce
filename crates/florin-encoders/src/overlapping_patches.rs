//! Patches that may overlap: a convolution of a picture is then a matrix, as every other layer is.

use burn::prelude::*;

use crate::zeros::with_zeros;

/// How a picture is cut, first down, then to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Sides of a patch.
    pub(crate) size: [usize; 2],
    /// From one corner to the next.
    pub(crate) strides: [usize; 2],
    /// Zeros before the picture and as many after it.
    pub(crate) padding: [usize; 2],
}

impl Cut {
    /// Patches down and to the right; those that do not fit are left out.
    pub(crate) fn grid(&self, sides: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|side| {
            let beyond = (sides[side] + 2 * self.padding[side]).checked_sub(self.size[side]);
            beyond.map_or(0, |beyond| beyond / self.strides[side] + 1)
        })
    }

    /// The patches, row by row; within one channel by channel, then row by row, as in a convolution's weight.
    ///
    /// # Shapes
    ///
    /// - pictures: `[batch, channels, height, width]`
    /// - output: `[batch, patches, channels · patch height · patch width]`
    pub(crate) fn patches(&self, pictures: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pictures.dims();
        let device = pictures.device();
        let [rows, columns] = self.grid([height, width]);
        // Lines of all patches one behind the other, those that several patches see once for each.
        let lines = |side: usize, places: usize| {
            let of_place = |place: usize| (0..self.size[side]).map(move |line| place * self.strides[side] + line);
            let lines: Vec<i32> = (0..places).flat_map(of_place).map(|line| line as i32).collect();
            let count = lines.len();
            Tensor::<1, Int>::from_data(TensorData::new(lines, [count]), &device)
        };
        let padded = [0, 1].into_iter().fold(pictures, |pictures, side| match self.padding[side] {
            0 => pictures,
            zeros => with_zeros(pictures, 2 + side, zeros, zeros),
        });
        let cut = padded.select(2, lines(0, rows)).select(3, lines(1, columns));
        let [down, across] = self.size;
        cut.reshape([batch, channels, rows, down, columns, across])
            .permute([0, 2, 4, 1, 3, 5]) // [batch, rows, columns, channels, down, across]
            .reshape([batch, rows * columns, channels * down * across])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_overlap_and_are_listed_by_rows() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let values: Vec<f32> = (0..20).map(|value| value as f32).collect();
        let pictures = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 4, 5]), &device);
        let cut = Cut { size: [2, 2], strides: [1, 2], padding: [0, 0] };
        let found = |cut: Cut| cut.patches(pictures.clone()).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(cut.grid([4, 5]), [3, 2]);
        let expected = [0, 1, 5, 6, 2, 3, 7, 8, 5, 6, 10, 11, 7, 8, 12, 13, 10, 11, 15, 16, 12, 13, 17, 18];
        assert_eq!(found(cut), expected.map(|value| value as f32));
        let padded = Cut { size: [3, 2], strides: [9, 9], padding: [1, 0] };
        assert_eq!((padded.grid([4, 5]), found(padded)), ([1, 1], vec![0.0, 0.0, 0.0, 1.0, 5.0, 6.0]));
        assert_eq!(Cut { size: [5, 1], ..cut }.grid([4, 5]), [0, 3], "a patch beyond the picture");
    }

    #[test]
    fn within_a_patch_channels_come_first() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let pictures = Tensor::<4>::from_floats([[[[1.0, 2.0]], [[3.0, 4.0]]]], &device);
        let cut = Cut { size: [1, 2], strides: [1, 1], padding: [0, 0] };
        let found = cut.patches(pictures).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found, [1.0, 2.0, 3.0, 4.0]);
    }
}
