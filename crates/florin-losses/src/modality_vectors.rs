//! One modality of a batch of which some rows may have nothing.

use burn::prelude::*;
use florin_backend::unit_rows;

/// Vectors of a modality, and which rows have it.
#[derive(Clone, Debug)]
pub struct ModalityVectors {
    /// `[batch, dim]`, of any length.
    pub vectors: Tensor<2>,
    /// Whether each row has the modality. What stands in the vector of a row that lacks it never matters.
    pub present: Vec<bool>,
}

impl ModalityVectors {
    /// A modality that every row has.
    pub fn of_all(vectors: Tensor<2>) -> Self {
        let [batch, _] = vectors.dims();
        Self { vectors, present: vec![true; batch] }
    }

    /// The same, which only some rows have.
    ///
    /// # Panics
    ///
    /// If `present` is not one mark a row.
    pub fn present_in(self, present: Vec<bool>) -> Self {
        assert_eq!(present.len(), self.present.len(), "one mark a row of the batch is needed");
        Self { present, ..self }
    }

    /// How many rows have it.
    pub fn count(&self) -> usize {
        self.present.iter().filter(|&&present| present).count()
    }

    /// Rows that have both.
    pub(crate) fn shared(&self, other: &Self) -> Vec<usize> {
        (0..self.present.len()).filter(|&row| self.present[row] && other.present[row]).collect()
    }

    /// Vectors of length one, zeros without gradient where the modality is absent: whatever stood there, NaN included, is gone.
    pub(crate) fn normalised(&self) -> Tensor<2> {
        if self.present.iter().all(|&present| present) {
            return unit_rows(self.vectors.clone());
        }
        unit_rows(self.vectors.clone().mask_fill(self.absent().expand(self.vectors.dims()), 0.0))
    }

    /// True where a row lacks it, `[batch, 1]`.
    fn absent(&self) -> Tensor<2, Bool> {
        let absent: Vec<bool> = self.present.iter().map(|present| !present).collect();
        let rows = absent.len();
        Tensor::from_data(TensorData::new(absent, [rows, 1]), &self.vectors.device())
    }
}
