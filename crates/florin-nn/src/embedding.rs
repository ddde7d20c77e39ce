//! A table of learned vectors, looked up by number.

use burn::module::Param;
use burn::prelude::*;

use crate::initialise::normal;

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, dim]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Vectors from N(0, 0.02).
    pub fn new(entries: usize, dim: usize, device: &Device) -> Self {
        Self { weight: normal([entries, dim], 0.02, device) }
    }

    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, each below the number of entries
    /// - output: `[batch, seq, dim]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        florin_backend::embedding(self.weight.val(), ids)
    }
}
