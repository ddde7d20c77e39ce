//! What every kind of attention promises: padding, absence, order and other rows of the batch change nothing.

mod perceiver_and_bottleneck;

use burn::prelude::*;
use burn::tensor::{DType, Distribution};

/// The device on which everything is tested, with gradients, after a seed.
pub(super) fn device(seed: u64) -> Device {
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    florin_backend::seed(&device, seed);
    device
}

/// Numbers about one.
pub(super) fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// All values, as f64.
pub(super) fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert_dtype(DType::F64).try_to_vec::<f64>().expect("just converted to f64")
}

/// The largest difference; NaN is larger than everything.
pub(super) fn gap<const D: usize>(one: Tensor<D>, other: Tensor<D>) -> f64 {
    assert_eq!(one.dims(), other.dims(), "only equal shapes can be compared");
    let differences = values(one).into_iter().zip(values(other)).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, gap| if gap.is_nan() || gap > most { gap } else { most })
}

/// Rounding in f32 of sums of a few dozen products of numbers about one; a wrong term would leave more than 1e-3.
pub(super) const ROUNDING: f64 = 5e-6;
