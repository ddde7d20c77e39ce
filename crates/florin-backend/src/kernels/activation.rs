//! Activations and their slopes.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use multiversion::multiversion;

use super::float_math::{erf, exp, sigmoid, tanh};

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` by the error function: BERT, ViT.
    Gelu,
    /// The same by a hyperbolic tangent: GPT-2, SigLIP.
    GeluTanh,
    /// `x·σ(1.702x)`: OpenAI's CLIP.
    QuickGelu,
    /// `max(x, 0)`
    Relu,
    /// `x·σ(x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Nothing.
    Identity,
}

/// √(2/π), of the tangent form of GELU.
const TANH_FACTOR: f32 = 0.797_884_6;
/// Its cubic term.
const TANH_CUBE: f32 = 0.044_715;

/// Puts `f(z)` in place of every z.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
pub(crate) fn apply(kind: Activation, values: &mut [f32]) {
    macro_rules! each {
        ($function:expr) => {
            for value in values {
                *value = $function(*value);
            }
        };
    }
    match kind {
        Activation::Gelu => each!(gelu),
        Activation::GeluTanh => each!(gelu_tanh),
        Activation::QuickGelu => each!(|z| swish(z, 1.702)),
        Activation::Silu => each!(|z| swish(z, 1.0)),
        Activation::Relu => each!(|z: f32| z.max(0.0)),
        Activation::Tanh => each!(tanh),
        Activation::Identity => {}
    }
}

/// `z Φ(z)`
#[inline(always)]
fn gelu(z: f32) -> f32 {
    0.5 * z * (1.0 + erf(z * FRAC_1_SQRT_2))
}

/// `z σ(2u)` with `u = √(2/π)(z + cz³)`, which is `z (1 + tanh u) / 2`.
#[inline(always)]
fn gelu_tanh(z: f32) -> f32 {
    z * sigmoid(2.0 * TANH_FACTOR * (TANH_CUBE * z * z).mul_add(z, z))
}

/// `z σ(az)`
#[inline(always)]
fn swish(z: f32, factor: f32) -> f32 {
    z * sigmoid(factor * z)
}

/// `into = gradient · f'(z)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
pub(crate) fn backward(kind: Activation, z: &[f32], gradient: &[f32], into: &mut [f32]) {
    macro_rules! each {
        ($slope:expr) => {
            for ((into, z), gradient) in into.iter_mut().zip(z).zip(gradient) {
                *into = gradient * $slope(*z);
            }
        };
    }
    match kind {
        Activation::Gelu => each!(gelu_slope),
        Activation::GeluTanh => each!(gelu_tanh_slope),
        Activation::QuickGelu => each!(|z| swish_slope(z, 1.702)),
        Activation::Silu => each!(|z| swish_slope(z, 1.0)),
        Activation::Relu => each!(|z| if z > 0.0 { 1.0 } else { 0.0 }),
        Activation::Tanh => each!(tanh_slope),
        Activation::Identity => into.copy_from_slice(gradient),
    }
}

/// `Φ(z) + z φ(z)`
#[inline(always)]
fn gelu_slope(z: f32) -> f32 {
    let density = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * exp(-0.5 * z * z);
    z.mul_add(density, 0.5 * (1.0 + erf(z * FRAC_1_SQRT_2)))
}

/// With `u = √(2/π)(z + cz³)` and `s = σ(2u)`: `s + 2 z s (1 - s) u'`
#[inline(always)]
fn gelu_tanh_slope(z: f32) -> f32 {
    let s = sigmoid(2.0 * TANH_FACTOR * (TANH_CUBE * z * z).mul_add(z, z));
    let inner = TANH_FACTOR * (3.0 * TANH_CUBE * z).mul_add(z, 1.0);
    (2.0 * z * s * (1.0 - s)).mul_add(inner, s)
}

/// `1 - tanh² z`
#[inline(always)]
fn tanh_slope(z: f32) -> f32 {
    let value = tanh(z);
    (-value).mul_add(value, 1.0)
}

/// Of `z σ(az)`: `s + a z s (1 - s)`
#[inline(always)]
fn swish_slope(z: f32, factor: f32) -> f32 {
    let s = sigmoid(factor * z);
    (factor * z * s).mul_add(1.0 - s, s)
}
