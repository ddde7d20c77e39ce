//! Supervised contrast: each sample is drawn to all others of its class at once.
//!
//! `ℓᵢ = −1/|P(i)| Σ_{p∈P(i)} log (exp(ẑᵢ·ẑₚ/τ) / Σ_{k≠i} exp(ẑᵢ·ẑₖ/τ))`, P(i) the other samples of i's class.
//!
//! Paper: Khosla et al. 2020, <https://arxiv.org/abs/2004.11362>
//! Difference: the form with the sum outside the logarithm, the paper's better one. A sample that is alone in its class has nothing
//! to be drawn to: it competes, but the mean is over the others.

use burn::prelude::*;

use crate::contrast::{RowTargets, Similarities, normalised, one_key};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct SupervisedContrastLoss {
    /// Divides similarities; the paper's is 0.1, its code's 0.07.
    pub temperature: f64,
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// The loss.
#[derive(Clone, Debug)]
pub struct SupervisedContrastLossParts {
    /// Mean over the samples that have another of their class, `[1]`; zero where none has.
    pub loss: Tensor<1>,
    /// How many those are.
    pub anchors: usize,
}

impl Default for SupervisedContrastLoss {
    fn default() -> Self {
        Self { temperature: 0.1, chunk: 512 }
    }
}

impl SupervisedContrastLoss {
    /// # Shapes
    ///
    /// - samples: `[batch, dim]`; they are normalised here
    /// - classes: one a sample
    ///
    /// # Panics
    ///
    /// If there are not as many classes as samples.
    pub fn forward(&self, samples: Tensor<2>, classes: &[usize]) -> SupervisedContrastLossParts {
        let [batch, _] = samples.dims();
        assert_eq!(classes.len(), batch, "one class a sample is needed");
        let samples = normalised(samples);
        let like = samples.clone().detach();
        let others = |row: usize| (0..batch).filter(|&other| other != row && classes[other] == classes[row]).count();
        let positives: Vec<usize> = (0..batch).map(others).collect();
        let anchors = positives.iter().filter(|&&count| count > 0).count();
        let scale = Tensor::<1>::from_floats([1.0], &samples.device()).cast(samples.dtype()) / self.temperature;
        let targets = |rows: std::ops::Range<usize>| {
            let weight = |row: usize, other: usize| {
                let drawn = other != row && classes[other] == classes[row];
                if drawn { 1.0 / positives[row] as f32 } else { 0.0 }
            };
            let values: Vec<f32> =
                rows.clone().flat_map(|row| (0..batch).map(move |other| weight(row, other))).collect();
            let weights = Tensor::<2>::from_data(TensorData::new(values, [rows.len(), batch]), &like.device());
            RowTargets::new(weights.cast(like.dtype()), Some(one_key(rows, batch, |row| row, &like).bool()))
        };
        let similarities = Similarities { queries: samples.clone(), keys: samples, scale, chunk: self.chunk };
        SupervisedContrastLossParts { loss: similarities.cross_entropy(&targets) / anchors.max(1) as f64, anchors }
    }
}
