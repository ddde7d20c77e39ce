//! The linear layer that all models use, so that packed and quantised weights can replace dense ones in one place.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::Activation;

use crate::initialise::{normal, zeros};
use crate::packed;

/// `y = x · weight + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`: the transpose of PyTorch's layout, so that the product needs no copy.
    pub weight: Param<Tensor<2>>,
    /// `[output]`, where the layer has one.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Weights from N(0, 0.02), bias zero.
    pub fn new(input: usize, output: usize, device: &Device) -> Self {
        Self { weight: normal([input, output], 0.02, device), bias: Some(zeros([output], device)) }
    }

    /// The same without a bias.
    pub fn without_bias(input: usize, output: usize, device: &Device) -> Self {
        Self { weight: normal([input, output], 0.02, device), bias: None }
    }

    /// # Shapes
    ///
    /// - x: `[.., input]`
    /// - output: `[.., output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_activated(x, Activation::Identity)
    }

    /// The product, the bias and the activation as one operation.
    ///
    /// # Shapes
    ///
    /// - x: `[.., input]`
    /// - output: `[.., output]`
    pub fn forward_activated<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        match packed::of(&self.weight) {
            Some(weight) => florin_backend::packed_linear(x, weight, bias, activation),
            None => florin_backend::linear_activation(x, self.weight.val(), bias, activation),
        }
    }
}
