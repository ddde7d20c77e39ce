//! What the tests of several losses check alike.

use burn::prelude::*;
use burn::tensor::DType;
use proptest::test_runner::TestCaseError;

/// The processor, with gradients.
pub(crate) fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

/// A tensor's values in f64.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert_dtype(DType::F64).try_to_vec::<f64>().expect("just converted")
}

/// The value of a tensor of one number.
pub(crate) fn number(x: Tensor<1>) -> f64 {
    values(x)[0]
}

/// An f32 tensor.
pub(crate) fn single<const D: usize>(shape: [usize; D], numbers: &[f64], device: &Device) -> Tensor<D> {
    let numbers: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// An f64 tensor.
pub(crate) fn double<const D: usize>(shape: [usize; D], numbers: &[f64], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers.to_vec(), shape), (device, DType::F64))
}

/// Marks.
pub(crate) fn marks<const D: usize>(shape: [usize; D], marks: &[bool], device: &Device) -> Tensor<D, Bool> {
    Tensor::from_data(TensorData::new(marks.to_vec(), shape), device)
}

/// Whole numbers.
pub(crate) fn whole<const D: usize>(shape: [usize; D], numbers: &[usize], device: &Device) -> Tensor<D, Int> {
    let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// `count` numbers in [-1, 1), different for every seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mixed = |index: u64| {
        let z = (seed ^ 0x5851_f42d_4c95_7f2d).wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 40
    };
    (0..count as u64).map(|index| mixed(index) as f64 / f64::from(1 << 23) - 1.0).collect()
}

/// The gradient of a function of some numbers.
pub(crate) fn gradient<const D: usize>(x: &Tensor<D>, of: &dyn Fn(Tensor<D>) -> Tensor<1>) -> Vec<f64> {
    let x = x.clone().detach().require_grad();
    let graph = of(x.clone()).backward();
    values(x.grad(&graph).expect("the loss depends on it"))
}

/// Holds the gradient in f64 to central differences.
pub(crate) fn slopes<const D: usize>(
    shape: [usize; D],
    at: &[f64],
    of: &dyn Fn(Tensor<D>) -> Tensor<1>,
) -> Result<(), TestCaseError> {
    const STEP: f64 = 1e-5;
    let device = device();
    let found = gradient(&double(shape, at, &device), of);
    let moved = |index: usize, by: f64| {
        let mut there = at.to_vec();
        there[index] += by;
        number(of(double(shape, &there, &device)))
    };
    let largest = found.iter().fold(1e-3f64, |most, value| most.max(value.abs()));
    for (index, &value) in found.iter().enumerate() {
        let slope = (moved(index, STEP) - moved(index, -STEP)) / (2.0 * STEP);
        let gap = (value - slope).abs();
        if gap.is_nan() || gap > 1e-6 * largest.max(1.0) {
            return Err(TestCaseError::fail(format!("entry {index}: gradient {value}, slope {slope}")));
        }
    }
    Ok(())
}
