//! Mixed precision: the factors of a linear layer's products in bfloat16; sums, weights, gradients and everything else in f32.
//!
//! Micikevicius et al., "Mixed Precision Training" (2018), with the format of Kalamkar et al., "A Study of BFLOAT16 for Deep Learning
//! Training" (2019), whose exponent is that of f32, so that no loss has to be scaled.

use std::cell::Cell;

/// What the factors of a product are rounded to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Factors {
    /// Nothing: they are f32.
    #[default]
    F32,
    /// To the nearest bfloat16, ties to even.
    Bf16,
}

thread_local! {
    static FACTORS: Cell<Factors> = const { Cell::new(Factors::F32) };
}

/// Calls a function in whose [`linear`](crate::linear) layers both factors of the product are rounded to bfloat16, the sums being f32. The
/// same holds for the two products of their gradients, whenever the backward pass comes.
///
/// Weights stay in f32, and so do their gradients and whoever moves them: a weight smaller than the rounding of another still learns.
/// It is meant for processors that multiply bfloat16 (AVX-512 BF16, ARM's BF16); on others it takes somewhat longer than f32. The `cpu`
/// device alone rounds, and this thread alone.
pub fn in_mixed_precision<T>(call: impl FnOnce() -> T) -> T {
    let _before = Before(FACTORS.replace(Factors::Bf16));
    call()
}

/// What products are made of here and now.
pub(crate) fn factors() -> Factors {
    FACTORS.get()
}

/// What held outside holds again, even after a panic.
struct Before(Factors);

impl Drop for Before {
    fn drop(&mut self) {
        FACTORS.set(self.0);
    }
}
