//! Supervised contrast: each sample is drawn to all others of its class at once.
//!
//! `ℓᵢ = −1/|P(i)| Σ_{p∈P(i)} log (exp(ẑᵢ·ẑₚ/τ) / Σ_{k≠i} exp(ẑᵢ·ẑₖ/τ))`, P(i) the other samples of i's class.
//!
//! Paper: Khosla et al. 2020, <https://arxiv.org/abs/2004.11362>
//! Difference: the form with the sum outside the logarithm, the paper's better one. A sample that is alone in its class has nothing
//! to be drawn to: it competes, but the mean is over the others.

use std::collections::HashMap;
use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, unit_rows};

use crate::contrast::Similarities;

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
        let samples = unit_rows(samples);
        let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
        classes.iter().enumerate().for_each(|(row, &class)| members.entry(class).or_default().push(row));
        let anchors: usize = members.values().map(Vec::len).filter(|&count| count > 1).sum();
        let others = |row: usize| members[&classes[row]].iter().copied().filter(move |&other| other != row);
        let scale = Tensor::<1>::from_floats([1.0], &samples.device()).cast(samples.dtype()) / self.temperature;
        let targets = |rows: Range<usize>| RowTargets {
            hidden: KeyLists::new(rows.clone().map(|row| [row])),
            ..RowTargets::new(KeyLists::new(rows.map(others)))
        };
        let similarities = Similarities::new(samples.clone(), samples, scale, self.chunk);
        SupervisedContrastLossParts { loss: similarities.cross_entropy(&targets) / anchors.max(1) as f64, anchors }
    }
}
