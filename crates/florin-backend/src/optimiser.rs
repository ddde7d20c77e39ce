//! One step of AdamW: in one pass where the device has it, composed elsewhere.

use burn::prelude::*;

use crate::AdamWStep;
use crate::fused;

/// Weights and both moments after a step: `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²` with g the scaled gradient,
/// `w ← w (1 - rate · decay) - rate / (1-β₁ᵗ) · m / (√v / √(1-β₂ᵗ) + ε)`.
///
/// Give the moments away: they are moved in place where nothing else holds them.
///
/// # Shapes
///
/// - weights, gradient, first, second, outputs: `[numbers]`, without gradients of their own
pub fn adamw(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    step: AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    if fused::serves(&weights) {
        return fused::adamw(weights, gradient, [first, second], step);
    }
    let gradient = gradient * step.scale;
    let first = first * step.beta_1 + gradient.clone() * (1.0 - step.beta_1);
    let second = second * step.beta_2 + gradient.square() * (1.0 - step.beta_2);
    let (rest_1, rest_2) = step.corrections();
    let root = second.clone().sqrt() / rest_2.sqrt() + step.epsilon;
    let change = first.clone() / root * (step.rate / rest_1);
    (weights * (1.0 - step.rate * step.decay) - change, [first, second])
}

/// The sum of squares, in f64 over pieces of f32: as many additions as a norm needs, none of a small number to a large one.
///
/// # Shapes
///
/// - x: `[numbers]`, without gradients of its own
pub fn sum_of_squares(x: Tensor<1>) -> f64 {
    if fused::serves(&x) {
        return fused::sum_of_squares(x);
    }
    f64::from(x.square().sum().into_scalar::<f32>())
}
