//! Normalised temperature-scaled cross-entropy: each of two views of a sample picks the other among all other views.
//!
//! `ℓᵢ = −log (exp(ẑᵢ·ẑⱼ/τ) / Σ_{k≠i} exp(ẑᵢ·ẑₖ/τ))`, j the other view of i; the mean over all 2N views.
//!
//! Paper: Chen et al. 2020 (SimCLR), <https://arxiv.org/abs/2002.05709>
//! Difference: none. Google's code adds the means of both halves, which is twice this value; a view never competes with itself.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, unit_rows};

use crate::contrast::Similarities;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct NtXentLoss {
    /// Divides similarities; the paper tries 0.05 to 1, lightly starts from 0.5.
    pub temperature: f64,
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// The loss.
#[derive(Clone, Debug)]
pub struct NtXentLossParts {
    /// Mean over both views of all samples, `[1]`.
    pub loss: Tensor<1>,
}

impl Default for NtXentLoss {
    fn default() -> Self {
        Self { temperature: 0.5, chunk: 512 }
    }
}

impl NtXentLoss {
    /// # Shapes
    ///
    /// - first, second: `[batch, dim]`, two views; they are normalised here
    ///
    /// # Panics
    ///
    /// If the views are not of the same samples.
    pub fn forward(&self, first: Tensor<2>, second: Tensor<2>) -> NtXentLossParts {
        assert_eq!(first.dims(), second.dims(), "two views of the same samples are needed");
        let [batch, _] = first.dims();
        let views = unit_rows(Tensor::cat(vec![first, second], 0));
        let scale = Tensor::<1>::from_floats([1.0], &views.device()).cast(views.dtype()) / self.temperature;
        let targets = |rows: Range<usize>| RowTargets {
            hidden: KeyLists::new(rows.clone().map(|row| [row])),
            ..RowTargets::new(KeyLists::new(rows.map(|row| [(row + batch) % (2 * batch)])))
        };
        let similarities = Similarities::new(views.clone(), views, scale, self.chunk);
        NtXentLossParts { loss: similarities.cross_entropy(&targets) / (2 * batch) as f64 }
    }
}
