//! What the taps of a convolution see, side by side: a convolution is then a matrix, as every other layer is.

use burn::prelude::*;

use crate::zeros::with_zeros;

/// What `kernel` taps see at each step, channel by channel, the earliest first; zeros beyond both ends.
///
/// Steps that no whole kernel fits are left out, as PyTorch leaves them out.
///
/// # Shapes
///
/// - x: `[batch, steps, channels]`
/// - output: `[batch, (steps + 2 · padding − kernel) / stride + 1, channels · kernel]`
///
/// # Panics
///
/// If the padded series is shorter than the kernel, or the kernel or the stride is zero.
pub(crate) fn taps(x: Tensor<3>, kernel: usize, stride: usize, padding: usize) -> Tensor<3> {
    let [batch, steps, channels] = x.dims();
    let padded = steps + 2 * padding;
    assert!(kernel > 0 && stride > 0 && padded >= kernel, "{kernel} taps every {stride} steps of {steps}");
    let places = (padded - kernel) / stride + 1;
    // Filled up to whole strides, so that a tap's steps are a column.
    let strides = places + (kernel - 1) / stride;
    let kept = steps.min((strides * stride).saturating_sub(padding));
    let after = (strides * stride).saturating_sub(padding + kept);
    let filled = with_zeros(x.narrow(1, 0, kept), 1, padding, after);
    let columns = filled.reshape([batch, strides, stride, channels]);
    let of_tap = |tap: usize| columns.clone().narrow(2, tap % stride, 1).narrow(1, tap / stride, places).squeeze_dim(2);
    let taps: Vec<Tensor<3>> = (0..kernel).map(of_tap).collect();
    Tensor::stack::<4>(taps, 3).reshape([batch, places, channels * kernel])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_listed_channel_by_channel_with_zeros_beyond_the_ends() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let x = Tensor::<3>::from_floats([[[1., 10.], [2., 20.], [3., 30.], [4., 40.]]], &device);
        let found = |kernel, stride, padding| {
            let taps = taps(x.clone(), kernel, stride, padding);
            (taps.dims(), taps.into_data().try_to_vec::<f32>().expect("f32"))
        };
        let (shape, values) = found(3, 2, 1);
        assert_eq!(shape, [1, 2, 6]);
        assert_eq!(values, [0., 1., 2., 0., 10., 20., 2., 3., 4., 20., 30., 40.]);
        assert_eq!(found(3, 1, 1).0, [1, 4, 6]);
        // The last step fits no second kernel.
        assert_eq!(found(3, 2, 0), ([1, 1, 6], vec![1., 2., 3., 10., 20., 30.]));
        assert_eq!(found(1, 3, 0), ([1, 2, 2], vec![1., 10., 4., 40.]));
    }
}
