//! Means over what counts: a position that does not count has no effect, whatever stands there, and where nothing counts the mean is zero.

use burn::prelude::*;

/// Means over the entries that count.
pub(crate) struct Counted {
    /// Over all entries that count, `[1]`.
    pub(crate) mean: Tensor<1>,
    /// Over those of each row, `[rows]`.
    pub(crate) per_row: Tensor<1>,
    /// How many of each row count, `[rows]`.
    pub(crate) counts: Tensor<1>,
}

/// Means of `[rows, entries]`. Values that do not count must be finite: see [`blanked`].
pub(crate) fn counted(values: Tensor<2>, counts: Tensor<2, Bool>) -> Counted {
    let [rows, _] = values.dims();
    let marks = counts.float().cast(values.dtype());
    let sums = (values * marks.clone()).sum_dim(1).reshape([rows]);
    let counts = marks.sum_dim(1).reshape([rows]);
    Counted {
        mean: sums.clone().sum() / counts.clone().sum().clamp_min(1.0),
        per_row: sums / counts.clone().clamp_min(1.0),
        counts,
    }
}

/// Vectors `[.., dim]` with zeros where they do not count (`[.., 1]`, of the same rank): neither a value nor a gradient that is no number gets past.
pub(crate) fn blanked<const D: usize>(x: Tensor<D>, counts: Tensor<D, Bool>) -> Tensor<D> {
    let shape = x.dims();
    x.mask_fill(counts.bool_not().expand(shape), 0.0)
}
