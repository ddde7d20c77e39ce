//! What encoders give and fusions take: sequences of vectors of different lengths, and the trait between them.

use burn::prelude::*;

use crate::{Mask, Modality};

/// A batch of token sequences of different lengths.
///
/// The padded view `[batch, seq, dim]` is for attention; [`map_rows`](Self::map_rows) is for everything that treats each
/// token alone, and leaves storage free to drop the padding. No model may read a hidden position.
#[derive(Clone, Debug)]
pub struct Tokens {
    values: Tensor<3>,
    mask: Mask,
}

impl Tokens {
    /// # Shapes
    ///
    /// - values: `[batch, seq, dim]`
    /// - mask: `[batch, seq]`
    ///
    /// # Panics
    ///
    /// If the two disagree on batch or sequence.
    pub fn new(values: Tensor<3>, mask: Mask) -> Self {
        let [batch, seq, _] = values.dims();
        assert_eq!(mask.hidden().dims(), [batch, seq], "mask must be [batch, seq] of the values");
        Self { values, mask }
    }

    /// The padded view `[batch, seq, dim]`.
    pub fn padded(&self) -> Tensor<3> {
        self.values.clone()
    }

    /// Which positions hold something.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// `[batch, seq, dim]`
    pub fn dims(&self) -> [usize; 3] {
        self.values.dims()
    }

    /// Applies a function of single tokens, `[rows, dim]` to `[rows, other]`.
    pub fn map_rows(self, function: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        let [batch, seq, dim] = self.values.dims();
        let rows = function(self.values.reshape([batch * seq, dim]));
        let [_, dim] = rows.dims();
        Self { values: rows.reshape([batch, seq, dim]), mask: self.mask }
    }

    /// The mean over the kept tokens, `[batch, dim]`; zero for an empty row. What stands at a hidden position never matters.
    pub fn mean(&self) -> Tensor<2> {
        let [batch, seq, dim] = self.values.dims();
        let hides_any = self.mask.hides_any();
        if seq == 1 && !hides_any {
            return self.values.clone().reshape([batch, dim]);
        }
        let values = if hides_any {
            // A weight of zero would keep NaN.
            let hidden = self.mask.hidden().unsqueeze_dim::<3>(2).expand([batch, seq, dim]);
            self.values.clone().mask_fill(hidden, 0.0)
        } else {
            self.values.clone()
        };
        let counts: Vec<f32> = self.mask.lengths().iter().map(|&n| 1.0 / (n.max(1) as f32)).collect();
        let scale: Tensor<2> = Tensor::<1>::from_floats(counts.as_slice(), &self.values.device()).reshape([batch, 1]);
        let weights: Tensor<3> = (self.mask.kept() * scale).reshape([batch, 1, seq]);
        florin_backend::product(weights.cast(values.dtype()), values).reshape([batch, dim])
    }
}

/// One modality, encoded.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What was encoded.
    pub modality: Modality,
    /// A vector a token.
    pub tokens: Tokens,
    /// A vector a row, `[batch, dim]`.
    pub pooled: Tensor<2>,
}

/// One modality's input to vectors.
pub trait Encoder {
    /// What the encoder reads: a struct of tensors.
    type Input;

    /// Which modality it is.
    fn modality(&self) -> Modality;

    /// Width of the vectors it gives.
    fn dim(&self) -> usize;

    /// Encodes a batch.
    fn encode(&self, input: Self::Input) -> Encoded;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_positions_have_no_part_in_the_mean_and_an_empty_row_is_zero() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let values = Tensor::<3>::from_floats([[[1.0], [3.0], [90.0]], [[7.0], [7.0], [7.0]]], &device);
        let mean = Tokens::new(values, Mask::from_lengths(&[2, 0], 3, &device)).mean();
        assert_eq!(mean.into_data().try_to_vec::<f32>().expect("f32"), [2.0, 0.0]);
    }
}
