//! The operations that models call: each chooses between one fused operation and several composed ones.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::prelude::*;
use burn::tensor::activation as burn_activation;

use crate::fused::{AttentionManner, Form, FusedOperations, MaybeBool, MaybeFloat, maybe, maybe_marks, serves};
use crate::mixed::factors;
use crate::{Activation, composed};

/// How attention scores are scaled and which keys a query may see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionOptions {
    /// Factor of the scores; `1/√head_dim` unless given.
    pub scale: Option<f64>,
    /// Whether a query sees only keys up to its own place, aligned at the end.
    pub causal: bool,
    /// How many places before its own and after it a query sees at most; its own always.
    pub window: Option<[usize; 2]>,
}

impl AttentionOptions {
    /// The same of both conditions.
    pub(crate) fn sight(&self) -> [usize; 2] {
        let [before, after] = self.window.unwrap_or([usize::MAX; 2]);
        [before, if self.causal { 0 } else { after }]
    }
}

/// Scaled dot-product attention. A query that may see no key gives zero.
///
/// # Shapes
///
/// - query: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, key heads, keys, head_dim]`, key heads dividing heads
/// - hidden (true: must not be seen), bias (added to the scaled scores, where minus infinity hides too): broadcastable to `[batch, heads, queries, keys]`
/// - output: `[batch, heads, queries, head_dim]`
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    bias: Option<Tensor<4>>,
    options: AttentionOptions,
) -> Tensor<4> {
    if !serves(&query) {
        return composed::attention(query, key, value, hidden, bias, options);
    }
    let [batch, heads, queries, head_dim] = query.dims();
    let [_, _, keys, _] = key.dims();
    let shape = [batch, heads, queries, keys];
    let scale = options.scale.unwrap_or_else(|| 1.0 / (head_dim as f64).sqrt());
    Tensor::from_dispatch(Dispatch::fused_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        maybe_marks(hidden.map(|hidden| hidden.expand(shape))),
        maybe(bias.map(|bias| bias.expand(shape))),
        AttentionManner { scale, sight: options.sight(), sequences: None },
    ))
}

/// Attention of sequences that lie end to end in one row, each to itself alone: what a padded batch would give without its padding.
///
/// # Shapes
///
/// - query: `[1, heads, total, head_dim]`
/// - key, value: `[1, key heads, total, head_dim]`, key heads dividing heads
/// - lengths: of the sequences, together `total`
/// - output: `[1, heads, total, head_dim]`
///
/// # Panics
///
/// If the lengths do not fit the row.
pub fn attention_of_sequences(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Arc<[usize]>,
    options: AttentionOptions,
) -> Tensor<4> {
    let [batch, _, total, head_dim] = query.dims();
    assert_eq!((batch, total, key.dims()[2]), (1, lengths.iter().sum(), total), "sequences of {lengths:?}");
    if !serves(&query) {
        return composed::attention_of_sequences(query, key, value, lengths, options);
    }
    let scale = options.scale.unwrap_or_else(|| 1.0 / (head_dim as f64).sqrt());
    Tensor::from_dispatch(Dispatch::fused_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        MaybeBool::Missing,
        MaybeFloat::Missing,
        AttentionManner { scale, sight: options.sight(), sequences: Some(Arc::clone(lengths)) },
    ))
}

/// The matrix product of the last two dimensions; the others must be equal.
///
/// # Shapes
///
/// - left: `[.., rows, inner]`, right: `[.., inner, columns]`, output: `[.., rows, columns]`
pub fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    if (D == 2 || D == 3 && left.dims()[0] == right.dims()[0]) && serves(&left) && serves(&right) {
        assert_eq!(left.dims()[D - 1], right.dims()[D - 2], "inner sizes must agree");
        return Tensor::from_dispatch(Dispatch::fused_product(left.into_dispatch(), right.into_dispatch()));
    }
    composed::product(left, right)
}

/// `x · weight + bias`.
///
/// # Shapes
///
/// - x: `[.., input]`, weight: `[input, output]`, bias: `[output]`, output: `[.., output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    linear_activation(x, weight, bias, Activation::Identity)
}

/// A linear layer and its activation as one operation; shapes as in [`linear`].
pub fn linear_activation<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    kind: Activation,
) -> Tensor<D> {
    let mut shape = x.dims();
    let [input, output] = weight.dims();
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = output;
    let x = x.reshape([rows, input]);
    if !serves(&x) {
        return activation(composed::linear(x, weight, bias).reshape(shape), kind);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::<2>::from_dispatch(Dispatch::fused_linear(x, weight, maybe(bias), kind, factors())).reshape(shape)
}

/// An activation.
pub fn activation<const D: usize>(x: Tensor<D>, kind: Activation) -> Tensor<D> {
    if kind != Activation::Identity && serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_activation(x.into_dispatch(), kind));
    }
    match kind {
        Activation::Gelu => composed::gelu(x),
        Activation::GeluTanh => burn_activation::gelu_approximate(x),
        Activation::QuickGelu => x.clone() * burn_activation::sigmoid(x * 1.702),
        Activation::Relu => burn_activation::relu(x),
        Activation::Silu => burn_activation::silu(x),
        Activation::Tanh => x.tanh(),
        Activation::Identity => x,
    }
}

/// Layer normalisation over the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, scale: Tensor<1>, shift: Option<Tensor<1>>, epsilon: f64) -> Tensor<D> {
    norm(x, None, scale, shift, epsilon)
}

/// Layer normalisation of `x + residual`.
pub fn add_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    scale: Tensor<1>,
    shift: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    norm(x, Some(residual), scale, shift, epsilon)
}

fn norm<const D: usize>(
    x: Tensor<D>,
    residual: Option<Tensor<D>>,
    scale: Tensor<1>,
    shift: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    if !serves(&x) {
        let x = match residual {
            Some(residual) => x + residual,
            None => x,
        };
        return composed::layer_norm(x, scale, shift, epsilon);
    }
    let (residual, shift) = (maybe(residual), maybe(shift));
    let (x, scale) = (x.into_dispatch(), scale.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_layer_norm(x, residual, scale, shift, epsilon))
}

/// Softmax along a dimension.
pub fn softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    if dim + 1 == D && serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_softmax(x.into_dispatch(), Form::Share));
    }
    burn_activation::softmax(x, dim)
}

/// Logarithm of the softmax along a dimension.
pub fn log_softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    if dim + 1 == D && serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_softmax(x.into_dispatch(), Form::Logarithm));
    }
    burn_activation::log_softmax(x, dim)
}

/// Rows of a table.
///
/// # Shapes
///
/// - table: `[entries, dim]`, ids: `[batch, seq]`, output: `[batch, seq, dim]`
///
/// # Panics
///
/// If an id is no entry.
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let [batch, seq] = ids.dims();
    let [_, dim] = table.dims();
    rows(table, ids.reshape([batch * seq])).reshape([batch, seq, dim])
}

/// Rows of a table, or of anything: the same as [`embedding`] of one sequence.
///
/// # Shapes
///
/// - table: `[entries, dim]`, ids: `[count]`, output: `[count, dim]`
///
/// # Panics
///
/// If an id is no entry.
pub fn rows(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    match serves(&table) {
        true => Tensor::from_dispatch(Dispatch::fused_embedding(table.into_dispatch(), ids.into_dispatch())),
        false => table.select(0, ids),
    }
}

/// The logarithm of the softmax of each row at its class.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, targets: `[rows]`, output: `[rows]`
///
/// # Panics
///
/// If a target is no class.
pub fn log_likelihood(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    smoothed_log_likelihood(logits, targets, None, 0.0)
}

/// The same, of the rows that are kept, with a share of each target spread evenly over the classes; zero of the others, whatever stands there.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, targets: `[rows]`, keep: `[rows]`, output: `[rows]`
///
/// # Panics
///
/// If a target of a kept row is no class.
pub fn smoothed_log_likelihood(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    keep: Option<Tensor<1, Bool>>,
    smoothing: f64,
) -> Tensor<1> {
    if serves(&logits) {
        let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
        return Tensor::from_dispatch(Dispatch::fused_log_likelihood(logits, targets, maybe_marks(keep), smoothing));
    }
    composed::log_likelihood(logits, targets, keep, smoothing)
}

/// Cross-entropy of class indices, averaged over the kept rows; zero where none is kept.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, targets: `[rows]`, keep: `[rows]`, output: `[1]`
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, keep: Option<Tensor<1, Bool>>) -> Tensor<1> {
    let picked = smoothed_log_likelihood(logits, targets, keep.clone(), 0.0);
    match keep {
        Some(keep) => picked.clone().sum().neg() / keep.float().cast(picked.dtype()).sum().clamp_min(1.0),
        None => picked.mean().neg(),
    }
}
