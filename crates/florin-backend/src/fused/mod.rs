//! Operations that the `cpu` device does in one go, as an extension of Burn's backends.
//!
//! A tensor on another device, or of another precision than f32, takes the composed operation instead: [`serves`] decides.

mod autodiff;
mod comparison_gradients;
mod comparisons;
mod flex;
mod pairs;
mod positions;
mod scores;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, backend_extension};
use burn::prelude::*;
use burn::tensor::DType;

use crate::Activation;
pub use crate::kernels::adamw::AdamWStep;
pub(crate) use crate::kernels::softmax::Form;
use crate::mixed::Factors;
pub(crate) use comparisons::FusedComparisons;
pub(crate) use pairs::FusedPairs;
pub(crate) use positions::FusedPositions;
pub(crate) use scores::{charge_pairs, charge_rows};
pub(crate) use spans::FusedSpans;

/// Forward operations, with gradients where the backend has them.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedOperations: Backend {
    /// See [`crate::attention`]; hidden and bias have the shape of the scores.
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        #[extension_type] hidden: MaybeBool<Self>,
        #[extension_type] bias: MaybeFloat<Self>,
        manner: AttentionManner,
    ) -> FloatTensor<Self>;

    /// See [`crate::layer_norm`] and [`crate::add_norm`].
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        #[extension_type] residual: MaybeFloat<Self>,
        scale: FloatTensor<Self>,
        #[extension_type] shift: MaybeFloat<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// See [`crate::product`]; both have two or three dimensions, the first of three equal.
    fn fused_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`crate::linear_activation`]; x is `[rows, input]`.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: MaybeFloat<Self>,
        activation: Activation,
        factors: Factors,
    ) -> FloatTensor<Self>;

    /// See [`crate::activation`].
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    /// See [`crate::softmax`] and [`crate::log_softmax`]; along the last dimension.
    fn fused_softmax(x: FloatTensor<Self>, form: Form) -> FloatTensor<Self>;

    /// See [`crate::rows`].
    fn fused_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;

    /// See [`crate::smoothed_log_likelihood`].
    fn fused_log_likelihood(
        logits: FloatTensor<Self>,
        classes: IntTensor<Self>,
        #[extension_type] keep: MaybeBool<Self>,
        smoothing: f64,
    ) -> FloatTensor<Self>;
}

/// An input that may be missing; Burn's extensions take no `Option`.
#[derive(ExtensionType, Clone, Debug)]
pub(crate) enum MaybeFloat<B: Backend> {
    Given(FloatTensor<B>),
    Missing,
}

/// The same for marks.
#[derive(ExtensionType, Clone, Debug)]
pub(crate) enum MaybeBool<B: Backend> {
    Given(BoolTensor<B>),
    Missing,
}

impl<B: Backend> MaybeFloat<B> {
    pub(crate) fn option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Missing => None,
        }
    }
}

impl<B: Backend> MaybeBool<B> {
    pub(crate) fn option(self) -> Option<BoolTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Missing => None,
        }
    }
}

/// An optional primitive as an extension's input.
pub(crate) fn given<B: Backend>(tensor: Option<FloatTensor<B>>) -> MaybeFloat<B> {
    tensor.map_or(MaybeFloat::Missing, MaybeFloat::Given)
}

/// An optional tensor as an extension's input.
pub(crate) fn maybe<const D: usize>(tensor: Option<Tensor<D>>) -> MaybeFloat<Dispatch> {
    tensor.map_or(MaybeFloat::Missing, |tensor| MaybeFloat::Given(tensor.into_dispatch()))
}

/// Optional marks as an extension's input.
pub(crate) fn maybe_marks<const D: usize>(tensor: Option<Tensor<D, Bool>>) -> MaybeBool<Dispatch> {
    tensor.map_or(MaybeBool::Missing, |tensor| MaybeBool::Given(tensor.into_dispatch()))
}

/// The ways back, and the ways there that keep what they need; only for backends without gradients of their own.
pub(crate) trait FusedGradients: FusedOperations {
    /// The output, and the logarithm of every query's summed weights `[batch, heads, queries]`.
    fn attention_keeping(inputs: AttentionInputs<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of query, key, value and, if wanted, bias.
    fn attention_backward(
        inputs: AttentionInputs<Self>,
        output: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        of_bias: bool,
    ) -> ([FloatTensor<Self>; 3], Option<FloatTensor<Self>>);

    /// Gradients of the rows, the scale and the shift.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3];

    /// The output and what stood before the activation, which is the same where there is none.
    fn linear_keeping(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        activation: Activation,
        factors: Factors,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of a linear layer's rows: `gradient · weightᵀ`.
    fn linear_backward_rows(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        factors: Factors,
    ) -> FloatTensor<Self>;

    /// The gradient of its weight: `xᵀ · gradient`.
    fn linear_backward_weight(x: FloatTensor<Self>, gradient: FloatTensor<Self>, factors: Factors)
    -> FloatTensor<Self>;

    /// The gradient before the activation.
    fn activation_backward(
        before: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// The gradient of a table of so many entries.
    fn table_gradient(entries: usize, ids: IntTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of what a softmax was taken of.
    fn softmax_backward(output: FloatTensor<Self>, gradient: FloatTensor<Self>, form: Form) -> FloatTensor<Self>;

    /// The logarithms at the classes, and those of the rows' sums.
    fn log_likelihood_keeping(
        logits: FloatTensor<Self>,
        target: ClassTarget<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the logits.
    fn log_likelihood_backward(
        logits: FloatTensor<Self>,
        target: ClassTarget<Self>,
        sums: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Sums over rows.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What an attention works on.
#[derive(Clone, Debug)]
pub(crate) struct AttentionInputs<B: Backend> {
    pub(crate) query: FloatTensor<B>,
    pub(crate) key: FloatTensor<B>,
    pub(crate) value: FloatTensor<B>,
    pub(crate) hidden: Option<BoolTensor<B>>,
    pub(crate) bias: Option<FloatTensor<B>>,
    pub(crate) manner: AttentionManner,
}

/// How an attention weighs, and what it keeps apart.
#[derive(Clone, Debug)]
pub(crate) struct AttentionManner {
    pub(crate) scale: f64,
    /// How many places before its own and after it a query sees.
    pub(crate) sight: [usize; 2],
    /// Lengths of the sequences that lie end to end in the batch's only row; without them each row is one.
    pub(crate) sequences: Option<Arc<[usize]>>,
}

/// What rows of logits should say.
#[derive(Clone, Debug)]
pub(crate) struct ClassTarget<B: Backend> {
    /// `[rows]`
    pub(crate) classes: IntTensor<B>,
    /// `[rows]`, false where the row does not count.
    pub(crate) keep: Option<BoolTensor<B>>,
    pub(crate) smoothing: f64,
}

/// Whether the fused operations serve a tensor: f32 on the `cpu` device, with or without gradients.
pub(crate) fn serves<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && matches!(x.device().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

pub(crate) use flex::{packed_linear, sum_of_squares, with_numbers};
/// Whether operations on a tensor are fused, and keep no more than their inputs for the way back: f32 on the `cpu` device. What is
/// one operation there may be many elsewhere, such as [`crate::attention_of_sequences`].
pub fn fuses<const D: usize>(x: &Tensor<D>) -> bool {
    serves(x)
}

/// See [`crate::adamw`].
pub(crate) fn adamw(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    moments: [Tensor<1>; 2],
    step: AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    flex::adamw(weights, gradient, moments, step)
}
