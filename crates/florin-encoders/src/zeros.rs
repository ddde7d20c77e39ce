//! Zeros beside a tensor, as convolutions and windows see them beyond an edge.

use burn::prelude::*;

/// A tensor with so many zeros before and after it along one dimension.
///
/// # Shapes
///
/// - output: that of `x`, longer by `before + after` along `dim`
pub(crate) fn with_zeros<const D: usize>(x: Tensor<D>, dim: usize, before: usize, after: usize) -> Tensor<D> {
    let zeros = |size: usize| {
        let mut shape = x.dims();
        shape[dim] = size;
        Tensor::zeros(shape, (&x.device(), x.dtype()))
    };
    let parts = [(before > 0).then(|| zeros(before)), Some(x.clone()), (after > 0).then(|| zeros(after))];
    Tensor::cat(parts.into_iter().flatten().collect(), dim)
}
