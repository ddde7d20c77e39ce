//! Layer normalisation, with the epsilon as an argument that nobody can forget: BERT's is 1e-12, ViT's 1e-12 or 1e-6.

use burn::module::Param;
use burn::prelude::*;

use crate::initialise::{ones, zeros};

/// Layer normalisation over the last dimension, with scale and shift.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[dim]`; `weight` in PyTorch's names.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[dim]`.
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Scale one, shift zero.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: ones([dim], device), bias: zeros([dim], device), epsilon }
    }

    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        florin_backend::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }

    /// Normalises `x + residual` as one operation: the post-norm blocks of BERT.
    ///
    /// # Shapes
    ///
    /// - x, residual, output: `[.., dim]`
    pub fn forward_added<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        florin_backend::add_norm(x, residual, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}
