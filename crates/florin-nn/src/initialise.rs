//! How new parameters start.
//!
//! Values are drawn when the layer is made, not on first use as Burn's own initialisers do, so that a seed set before a
//! model is built fixes every parameter whatever is read first.

use std::cell::Cell;

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::tensor::Distribution;

thread_local! {
    /// Whether parameters made now wait for their values.
    static WAITING: Cell<bool> = const { Cell::new(false) };
}

/// Makes a module whose parameters have a shape and no values yet: for one that a checkpoint is about to fill, or whose sizes are
/// all that is asked for. Nothing of a parameter is allocated before it is assigned or first used.
pub fn unfilled<T>(make: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            WAITING.set(self.0);
        }
    }
    let _before = Before(WAITING.replace(true));
    make()
}

/// Draws from a normal distribution with mean 0: BERT, ViT and CLIP use a standard deviation of 0.02.
pub fn normal<const D: usize>(shape: [usize; D], deviation: f64, device: &Device) -> Param<Tensor<D>> {
    parameter(shape, device, move |device| Tensor::random(shape, Distribution::Normal(0.0, deviation), device))
}

/// All zeros: biases, and the last layer of a branch that should start as the identity.
pub fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    parameter(shape, device, move |device| Tensor::zeros(shape, device))
}

/// All ones: the scale of a norm.
pub fn ones<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant(shape, 1.0, device)
}

/// The same number everywhere: a layer scale, a logit scale.
pub fn constant<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    parameter(shape, device, move |device| Tensor::full(shape, value, device))
}

fn parameter<const D: usize>(
    shape: [usize; D],
    device: &Device,
    make: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    if !WAITING.get() {
        return Param::from_tensor(make(device));
    }
    let make = |device: &Device, tracked| if tracked { make(device).require_grad() } else { make(device) };
    Param::uninitialized(ParamId::new(), make, device.clone(), true, shape.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfilled_parameter_has_a_shape_and_costs_nothing_before_it_is_used() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let huge = unfilled(|| normal([1 << 30, 1 << 20], 0.02, &device));
        assert_eq!(huge.lazy_shape().dims(), [1 << 30, 1 << 20]);
        assert!(!huge.is_initialized());
        assert!(normal([2, 2], 0.02, &device).is_initialized(), "outside, values are drawn at once");
        assert_eq!(unfilled(|| ones([3], &device)).val().into_data().try_to_vec::<f32>().unwrap(), [1.0; 3]);
    }
}
