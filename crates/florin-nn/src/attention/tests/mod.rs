//! What every kind of attention promises: padding, absence, order and other rows of the batch change nothing, and gradients are
//! those of finite differences.

mod blocks;
mod dynamic;
mod heads;
mod levels;
mod perceiver_and_bottleneck;
mod places;
mod window;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{DType, Distribution};

use crate::parameters::{assign, collect};

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
    differences.fold(0.0, |most: f64, gap| if gap.is_nan() || gap > most { gap } else { most })
}

/// Rounding in f32 of sums of a few dozen products of numbers about one; a wrong term would leave more than 1e-3.
pub(super) const ROUNDING: f64 = 5e-6;

/// Weights ten times as large, so that every branch is heard.
pub(super) fn loud<M: Module>(module: M) -> M {
    let stored = collect(&module);
    assign(module, &mut |name, _| {
        let values = &stored[name].values;
        (!name.contains("norm")).then(|| values.iter().map(|value| value * 10.0).collect())
    })
}

/// A module in f64, which the fused operations do not serve.
pub(super) fn doubled<M: Module>(module: M) -> M {
    module.map(&mut Doubled)
}

struct Doubled;

impl ModuleMapper for Doubled {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::F64).detach().require_grad())
    }
}

/// Compares the gradient of a weighted sum of a function's values, in f64, with finite differences at every `step`th input.
pub(super) fn assert_gradient(function: &dyn Fn(Tensor<3>) -> Tensor<3>, x: Tensor<3>, step: usize) {
    let x = x.cast(DType::F64).detach().require_grad();
    let output = function(x.clone());
    let probe = random(output.dims(), &x.device()).cast(DType::F64);
    let total = |output: Tensor<3>| values((output * probe.clone()).sum())[0];
    let found = values(x.grad(&(output * probe.clone()).sum().backward()).expect("x is tracked"));
    let (shape, start) = (x.dims(), values(x.clone()));
    let moved = |index: usize, by: f64| {
        let mut moved = start.clone();
        moved[index] += by;
        let data = TensorData::new(moved, shape);
        total(function(Tensor::from_data(data, (&x.device(), DType::F64))))
    };
    // Third derivatives about one leave h² = 1e-10, and rounding leaves 1e-16 / h = 1e-11.
    let by = 1e-5;
    for index in (0..start.len()).step_by(step) {
        let expected = (moved(index, by) - moved(index, -by)) / (2.0 * by);
        let gap = (found[index] - expected).abs();
        assert!(gap < 1e-6 * expected.abs().max(1.0), "input {index}: gradient {} against {expected}", found[index]);
    }
}
