//! Cutting clips into tubelets, and choosing some of them.
//!
//! Paper: Arnab et al. 2021 (ViViT, tubelets), <https://arxiv.org/abs/2103.15691>
//! Difference: none.

use burn::prelude::*;

/// Cuts clips into tubelets: by time, then row, then column; within one the order is channel, frame, row, column, as in the weight of
/// a three-dimensional convolution. A tubelet of one frame is a patch.
///
/// # Shapes
///
/// - clips: `[batch, frames, channels, height, width]`
/// - size: frames, height and width of a tubelet
/// - output: `[batch, tubelets, channels · frames · height · width of a tubelet]`
///
/// # Panics
///
/// If a clip is not cut into whole tubelets.
pub fn tubelets(clips: Tensor<5>, size: [usize; 3]) -> Tensor<3> {
    let (cut, [batch, tubelets, channels]) = cut(clips, size);
    let values = channels * size.iter().product::<usize>();
    cut.swap_dims(1, 2).reshape([batch, tubelets, values])
}

/// The same tubelets with the channels of each value side by side, as they are predicted.
///
/// # Shapes
///
/// - clips: `[batch, frames, channels, height, width]`
/// - output: `[batch, tubelets, frames · height · width of a tubelet, channels]`
pub(crate) fn tubelets_by_pixel(clips: Tensor<5>, size: [usize; 3]) -> Tensor<4> {
    let (cut, [batch, tubelets, channels]) = cut(clips, size);
    cut.swap_dims(2, 3).reshape([batch, tubelets, size.iter().product::<usize>(), channels])
}

/// `[tubelets of all clips, frames, channels, height · width]`, with batch, tubelets of a clip and channels. Never more than six
/// dimensions: ndarray's tensors have no more.
fn cut(clips: Tensor<5>, size: [usize; 3]) -> (Tensor<4>, [usize; 3]) {
    let [batch, frames, channels, height, width] = clips.dims();
    let whole = [frames, height, width].iter().zip(size).all(|(&whole, part)| whole.is_multiple_of(part));
    assert!(whole, "{size:?} must divide {frames} x {height} x {width}");
    let [times, rows, columns] = [frames / size[0], height / size[1], width / size[2]];
    let cut = clips.reshape([batch * times, size[0] * channels, rows, size[1], columns, size[2]]);
    let tubelets = times * rows * columns;
    let cut = cut.permute([0, 2, 4, 1, 3, 5]).reshape([batch * tubelets, size[0], channels, size[1] * size[2]]);
    (cut, [batch, tubelets, channels])
}

/// Which tubelets of each row a model does not see; every row hides as many.
#[derive(Clone, Debug)]
pub struct HiddenTubelets {
    visible: Vec<i32>,
    hidden: Vec<i32>,
    batch: usize,
}

impl HiddenTubelets {
    /// From marks row by row, true where hidden; none if rows hide different numbers, or everything.
    ///
    /// # Panics
    ///
    /// If there are not `batch · tubelets` marks.
    pub fn new(marks: &[bool], batch: usize, tubelets: usize) -> Option<Self> {
        assert_eq!(marks.len(), batch * tubelets, "expected {batch} x {tubelets} marks");
        let places = |wanted: bool| -> Vec<i32> {
            let marked = marks.iter().enumerate().filter(|(_, mark)| **mark == wanted);
            marked.map(|(place, _)| place as i32).collect()
        };
        let count = |row: &[bool]| row.iter().filter(|mark| **mark).count();
        let mut counts = marks.chunks(tubelets).map(count);
        let first = counts.next()?;
        let even = counts.all(|count| count == first) && first < tubelets;
        even.then(|| Self { visible: places(false), hidden: places(true), batch })
    }

    /// The visible vectors of each row, in their order.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tubelets, dim]`, output: `[batch, visible, dim]`
    pub fn visible(&self, x: Tensor<3>) -> Tensor<3> {
        chosen(x, &self.visible)
    }

    /// The hidden vectors of each row, in their order.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tubelets, dim]`, output: `[batch, hidden, dim]`
    pub fn hidden(&self, x: Tensor<3>) -> Tensor<3> {
        chosen(x, &self.hidden)
    }

    /// How many each row hides.
    pub fn hidden_count(&self) -> usize {
        self.hidden.len() / self.batch
    }
}

/// The vectors at these places of all rows one behind the other, as many of each row.
///
/// # Shapes
///
/// - x: `[batch, seq, dim]`, output: `[batch, places / batch, dim]`
pub(crate) fn chosen(x: Tensor<3>, places: &[i32]) -> Tensor<3> {
    let [batch, seq, dim] = x.dims();
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places.to_vec(), [count]), &x.device());
    florin_backend::rows(x.reshape([batch * seq, dim]), places).reshape([batch, count / batch, dim])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tubelets_go_by_time_row_and_column_and_inside_by_channel_first() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let values: Vec<f32> = (0..64).map(|value| value as f32).collect();
        // Two frames of two channels of 2 x 8 pixels.
        let clip = Tensor::<5>::from_data(TensorData::new(values, [1, 2, 2, 2, 8]), &device);
        let found = tubelets(clip.clone(), [2, 2, 2]);
        assert_eq!(found.dims(), [1, 4, 16]);
        let second = found.narrow(1, 1, 1).into_data().try_to_vec::<f32>().expect("f32");
        let expected = [2, 3, 10, 11, 34, 35, 42, 43, 18, 19, 26, 27, 50, 51, 58, 59];
        assert_eq!(second, expected.map(|value| value as f32));
        let by_pixel = tubelets_by_pixel(clip, [2, 2, 2]).narrow(1, 1, 1);
        let by_pixel = by_pixel.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(by_pixel[..6], [2.0, 18.0, 3.0, 19.0, 10.0, 26.0]);
    }

    #[test]
    fn every_row_hides_as_many_and_something_is_seen() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        assert!(HiddenTubelets::new(&[true, false, false, false], 2, 2).is_none());
        assert!(HiddenTubelets::new(&[true, true], 1, 2).is_none());
        let chosen = HiddenTubelets::new(&[true, false, false, false, true, false], 2, 3).unwrap();
        let x = Tensor::<3>::from_floats([[[0.0], [1.0], [2.0]], [[3.0], [4.0], [5.0]]], &device);
        let floats = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(floats(chosen.visible(x.clone())), [1.0, 2.0, 3.0, 5.0]);
        assert_eq!(floats(chosen.hidden(x)), [0.0, 4.0]);
        assert_eq!(chosen.hidden_count(), 1);
    }
}
