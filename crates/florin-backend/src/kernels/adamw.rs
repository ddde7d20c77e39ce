//! AdamW in one pass over a parameter: its weights, its gradient and both moments are read and written once.

use multiversion::multiversion;
use rayon::prelude::*;

use super::rows::sum_of;

/// Numbers that one task takes.
const NUMBERS: usize = 1 << 14;

/// What a step needs besides the numbers themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Learning rate of this step.
    pub rate: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// What gradients are multiplied by.
    pub scale: f64,
    /// Steps that the moments hold, this one included.
    pub time: usize,
}

impl AdamWStep {
    /// `1 - β₁ᵗ` and `1 - β₂ᵗ`, in f64: in f32 the first steps would be off by a hundred roundings.
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let power = i32::try_from(self.time).unwrap_or(i32::MAX);
        (1.0 - self.beta_1.powi(power), 1.0 - self.beta_2.powi(power))
    }
}

/// Moves the weights and both moments.
pub(crate) fn step(weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: AdamWStep) {
    let chunks = weights.par_chunks_mut(NUMBERS).zip(gradient.par_chunks(NUMBERS));
    let chunks = chunks.zip(first.par_chunks_mut(NUMBERS)).zip(second.par_chunks_mut(NUMBERS));
    chunks.for_each(|(((weights, gradient), first), second)| move_all(weights, gradient, first, second, step));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn move_all(weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: AdamWStep) {
    let (rest_1, rest_2) = step.corrections();
    let (beta_1, beta_2) = (step.beta_1 as f32, step.beta_2 as f32);
    let (new_1, new_2) = ((1.0 - step.beta_1) as f32, (1.0 - step.beta_2) as f32);
    let (root, epsilon, rate) = (rest_2.sqrt() as f32, step.epsilon as f32, (step.rate / rest_1) as f32);
    let (kept, scale) = ((1.0 - step.rate * step.decay) as f32, step.scale as f32);
    for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
        let gradient = gradient * scale;
        *first = *first * beta_1 + gradient * new_1;
        *second = *second * beta_2 + gradient * gradient * new_2;
        *weight = *weight * kept - *first / (second.sqrt() / root + epsilon) * rate;
    }
}

/// The sum of squares: pieces in f32, their sums in f64 and in order.
pub(crate) fn sum_of_squares(numbers: &[f32]) -> f64 {
    let sums: Vec<f32> = numbers.par_chunks(NUMBERS).map(squares).collect();
    sums.into_iter().map(f64::from).sum()
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn squares(numbers: &[f32]) -> f32 {
    sum_of(numbers, |x| x * x)
}
