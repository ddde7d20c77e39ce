//! How new parameters start.
//!
//! Values are drawn when the layer is made, not on first use as Burn's own initialisers do, so that a seed set before a
//! model is built fixes every parameter whatever is read first.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::Distribution;

/// Draws from a normal distribution with mean 0: BERT, ViT and CLIP use a standard deviation of 0.02.
pub fn normal<const D: usize>(shape: [usize; D], deviation: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::random(shape, Distribution::Normal(0.0, deviation), device))
}

/// All zeros: biases, and the last layer of a branch that should start as the identity.
pub fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::zeros(shape, device))
}

/// All ones: the scale of a norm.
pub fn ones<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant(shape, 1.0, device)
}

/// The same number everywhere: a layer scale, a logit scale.
pub fn constant<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}
