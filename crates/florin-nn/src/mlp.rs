//! The two-layer perceptron of a transformer block.

use burn::prelude::*;
use florin_backend::Activation;

use crate::Linear;

/// `down(activation(up(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[dim, hidden]`
    pub up: Linear,
    /// `[hidden, dim]`
    pub down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// New weights.
    pub fn new(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        Self { up: Linear::new(dim, hidden, device), down: Linear::new(hidden, dim, device), activation }
    }

    /// The same without biases.
    pub fn without_biases(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        Self {
            up: Linear::without_bias(dim, hidden, device),
            down: Linear::without_bias(hidden, dim, device),
            activation,
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.down.forward(self.up.forward_activated(x, self.activation))
    }
}
