//! Layer normalisation, with the epsilon as an argument that nobody can forget: BERT's is 1e-12, ViT's 1e-12 or 1e-6.

use burn::module::Param;
use burn::prelude::*;

use crate::initialise::{ones, zeros};

/// Layer normalisation over the last dimension, with scale and, in most models, shift.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[dim]`; `weight` in PyTorch's names.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[dim]`, where the norm has one.
    pub bias: Option<Param<Tensor<1>>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Scale one, shift zero.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self { bias: Some(zeros([dim], device)), ..Self::without_bias(dim, epsilon, device) }
    }

    /// The same without a shift.
    pub fn without_bias(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: ones([dim], device), bias: None, epsilon }
    }

    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        florin_backend::layer_norm(x, self.weight.val(), self.shift(), self.epsilon)
    }

    /// Normalises `x + residual` as one operation: the post-norm blocks of BERT.
    ///
    /// # Shapes
    ///
    /// - x, residual, output: `[.., dim]`
    pub fn forward_added<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        florin_backend::add_norm(x, residual, self.weight.val(), self.shift(), self.epsilon)
    }

    fn shift(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_multiplies_and_shift_is_added() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut norm = LayerNorm::new(2, 1e-12, &device);
        norm.weight = Param::from_tensor(Tensor::from_floats([2.0, 2.0], &device));
        norm.bias = Some(Param::from_tensor(Tensor::from_floats([3.0, 5.0], &device)));
        let values = |tensor: Tensor<2>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        let row = |values: [f32; 2]| Tensor::<2>::from_floats([values], &device);
        assert_eq!(values(norm.forward(row([1.0, -1.0]))), [5.0, 3.0]);
        // Alone the first would give [5, 3] too.
        assert_eq!(values(norm.forward_added(row([3.0, 0.0]), row([-1.0, 4.0]))), [1.0, 7.0]);
        norm.bias = None;
        assert_eq!(values(norm.forward(row([1.0, -1.0]))), [2.0, -2.0]);
    }
}
