//! Stretching a learned table to another length by repeating or leaving out entries, as PyTorch's `interpolate(mode="nearest")`.

use burn::prelude::*;

/// The entry `⌊place · found / length⌋` for every place.
///
/// # Shapes
///
/// - x: `[rows, found, dim]`, output: `[rows, length, dim]`
pub(crate) fn nearest(x: Tensor<3>, length: usize) -> Tensor<3> {
    let [_, found, _] = x.dims();
    if found == length {
        return x;
    }
    // In f32, as there: a rounding decides where a place falls on a border.
    let scale = found as f32 / length as f32;
    let places: Vec<i32> = (0..length).map(|place| ((place as f32 * scale) as i32).min(found as i32 - 1)).collect();
    x.clone().select(1, Tensor::from_data(TensorData::new(places, [length]), &x.device()))
}

#[test]
fn entries_are_repeated_or_left_out() {
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    let table = Tensor::<3>::from_floats([[[0.0], [1.0], [2.0]]], &device);
    let of = |length| nearest(table.clone(), length).into_data().try_to_vec::<f32>().expect("f32");
    assert_eq!(of(3), [0.0, 1.0, 2.0]);
    assert_eq!(of(5), [0.0, 0.0, 1.0, 1.0, 2.0]);
    assert_eq!(of(2), [0.0, 1.0]);
}
