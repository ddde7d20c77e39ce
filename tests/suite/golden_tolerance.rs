//! The one table of tolerances. A test names an entry of it and never carries a number of its own.
//!
//! The rule: our largest f32 error against the f64 oracle may be at most [`FACTOR`] times the largest error that torch's own
//! f32 has in the same tensor, or the entry's floor where that is more. The floor exists because torch's error in a tensor is one
//! draw of a random number: in a tensor of few entries it is sometimes zero, which nobody can be held to.

/// How many times torch's own error ours may be: both sum the same products in different orders.
pub(crate) const FACTOR: f64 = 3.0;

/// Half the distance between 1 and the next f32: the relative error of one rounding.
pub(crate) const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// An entry of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Floor of the allowed error, in roundings of the tensor's largest magnitude.
    pub(crate) roundings: f64,
    /// The least magnitude the floor is counted from, as a share of the largest tensor of the same kind in the fixture.
    pub(crate) share: f64,
}

/// Vectors and scores that a model gives. Errors of some hundred operations in a row, each of one rounding and as often up as
/// down, add up to their square root: 16 covers 256 of them.
pub(crate) const OUTPUT: Tolerance = Tolerance { roundings: 16.0, share: 0.0 };

/// A single number at the end of a network, in which errors of all outputs come together; a sum of signed terms, which may be smaller
/// than they are. 16 held on every machine until one without AVX-512, where one case (`attention_relative_bias_both`) takes 16.3 of them.
pub(crate) const LOSS: Tolerance = Tolerance { roundings: 20.0, share: 0.0 };

/// Gradients: twice the operations of the forward pass, which meet the forward pass' own errors. Some are zero or nearly so by cancellation (the bias of a key shifts all
/// scores alike); their rounding errors are those of the terms that cancel, which are as large as other gradients, so that the
/// floor counts at least 1/50 of the largest.
pub(crate) const GRADIENT: Tolerance = Tolerance { roundings: 32.0, share: 0.02 };

/// Losses and gradient norms over ten steps of training: each step starts from the rounding errors of those before it.
pub(crate) const TRACE: Tolerance = Tolerance { roundings: 32.0, share: 0.0 };

/// Weights after ten steps. Adam divides a gradient by its own size, so a small gradient's relative error, which is far larger than
/// a rounding, becomes an error of the step; weights have a magnitude of 0.1 and a step one of 0.01.
pub(crate) const TRAINED_WEIGHT: Tolerance = Tolerance { roundings: 64.0, share: 0.02 };

/// Two devices against each other: the largest difference of any score, relative to the largest score. Each may be off by its own
/// kernels' rounding; graphics cards contract products and sums and approximate exp, erf and division within a few roundings
/// each (Vulkan allows 3 for exp, more for larger arguments), in some hundred operations in a row.
pub(crate) const PARITY: f64 = 5e-4;

/// A row alone against the same row in a batch, relative to the largest value: the same products, perhaps added up in another
/// order, in some hundred operations in a row.
pub(crate) const ALONE: f64 = 64.0 * ROUNDING;

/// One operation on a device against f64, in roundings of the largest value: its own approximation, or a sum of some twenty products.
pub(crate) const PARITY_OPERATION: f64 = 32.0;

impl Tolerance {
    /// The largest error allowed in a tensor whose largest magnitude is `scale`, in a fixture where that of the largest tensor of the
    /// kind is `largest`, when torch's own error is `torch`.
    pub(crate) fn allowed(self, torch: f64, scale: f64, largest: f64) -> f64 {
        (FACTOR * torch).max(self.roundings * ROUNDING * scale.max(self.share * largest))
    }
}

#[test]
fn a_tolerance_follows_torch_until_its_floor() {
    assert_eq!(OUTPUT.allowed(1e-3, 1.0, 1.0), 3e-3);
    assert_eq!(OUTPUT.allowed(0.0, 2.0, 100.0), 32.0 * ROUNDING);
    assert_eq!(GRADIENT.allowed(0.0, 0.0, 1.0), 0.64 * ROUNDING);
}
