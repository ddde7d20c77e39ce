//! Biases of attention by how far a key stands from its query, and rows without those that are hidden.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedPositions, serves};

/// The logarithm of what soft spans let through: a span of z places with a ramp of R lets `clamp((R + z − d) / R, 0, 1)` of a key d places away
/// through; minus infinity of a key beyond.
///
/// # Shapes
///
/// - span: `[batch, heads, seq, 1]`, output: `[batch, heads, seq, seq]`
pub fn log_reach(span: Tensor<4>, ramp: f64) -> Tensor<4> {
    let [_, _, seq, _] = span.dims();
    if serves(&span) {
        return Tensor::from_dispatch(Dispatch::fused_log_reach(span.into_dispatch(), ramp));
    }
    let distances: Vec<f64> = (0..seq * seq).map(|place| (place / seq).abs_diff(place % seq) as f64).collect();
    let distances = TensorData::new(distances, [1, 1, seq, seq]).convert_dtype(span.dtype());
    let distances = Tensor::<4>::from_data(distances, (&span.device(), span.dtype()));
    let reach = ((span + ramp - distances) / ramp).clamp_max(1.0);
    let unseen = reach.clone().detach().lower_equal_elem(0.0);
    // One first, since the logarithm of zero has no gradient.
    reach.mask_fill(unseen.clone(), 1.0).log().mask_fill(unseen, f32::NEG_INFINITY)
}

/// Matrices that are constant along their diagonals: the number at a query and a key is that of how many places the key stands behind the query,
/// from `1 − queries` on.
///
/// # Shapes
///
/// - rows: `[heads, queries + keys − 1]`, output: `[heads, queries, keys]`
///
/// # Panics
///
/// If rows have another length, or there is no query or key.
pub fn along_diagonals(rows: Tensor<2>, queries: usize, keys: usize) -> Tensor<3> {
    let [heads, length] = rows.dims();
    assert!(queries > 0 && keys > 0, "{queries} queries and {keys} keys");
    assert_eq!(length, queries + keys - 1, "a number for every distance of {queries} queries and {keys} keys");
    if serves(&rows) {
        return Tensor::from_dispatch(Dispatch::fused_diagonals(rows.into_dispatch(), queries, keys));
    }
    let places: Vec<i64> = (0..queries * keys).map(|at| (at % keys + queries - 1 - at / keys) as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [queries * keys]), &rows.device());
    rows.select(1, places).reshape([heads, queries, keys])
}

/// Zeros in hidden places, with a gradient of zero: whatever stood there, NaN included.
///
/// # Shapes
///
/// - x, output: `[batch, seq, dim]`; hidden: `[batch, seq]`, true where a row must not be read
///
/// # Panics
///
/// If there is not a mark for each row.
pub fn without_hidden(x: Tensor<3>, hidden: Tensor<2, Bool>) -> Tensor<3> {
    let shape @ [batch, seq, _] = x.dims();
    assert_eq!(hidden.dims(), [batch, seq], "a mark for each row is needed");
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_without_hidden(x.into_dispatch(), hidden.into_dispatch()));
    }
    x.mask_fill(hidden.unsqueeze_dim::<3>(2).expand(shape), 0.0)
}
