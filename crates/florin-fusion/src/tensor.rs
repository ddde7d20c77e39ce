//! Tensor fusion: the products of all modalities' numbers, of every order.
//!
//! `h = W vec([1; z_1] ⊗ … ⊗ [1; z_M]) + b` with `z_m = P_m x_m`. The ones keep every lower order: the entry of all ones is a
//! constant, those with one `z` are the modality alone, and so on; without them only the full product would be left.
//!
//! An absent modality is `[1; 0]`: every term that holds it is zero, and the terms without it remain as they were. A row that has
//! nothing keeps the constant term. The kind defines no weights. The outer product has `(width + 1)^M` entries, of which at most
//! [`MOST_ENTRIES`] are allowed; beyond, take [`LowRank`](crate::LowRank). It is a polynomial of degree M in its inputs: normalise them.
//!
//! Paper: Zadeh et al. 2017 (TFN), <https://arxiv.org/abs/1707.07250>
//! Difference: the ones come first; a linear projection makes every modality small before the product, and the network after
//! it is one linear layer.

use burn::prelude::*;
use florin_nn::{Linear, Modality};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{input_width, output_width, projection};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream};

/// Entries that the outer product may have.
pub const MOST_ENTRIES: usize = 1 << 20;

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result.
    pub dim: usize,
    /// Width to which every modality is projected before the product.
    pub width: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct TensorFusion {
    /// Each modality made small.
    pub projections: Vec<Linear>,
    /// `[(width + 1)^M, dim]`; the last modality's index runs fastest.
    pub output: Linear,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl TensorConfig {
    /// The widest projection whose product of so many modalities has at most 4,096 entries, up to `dim`.
    pub fn usual(streams: Vec<(Modality, usize)>, dim: usize) -> Self {
        let fits = |width: &usize| (width + 1).checked_pow(streams.len() as u32).is_some_and(|entries| entries <= 4096);
        let width = (1..=dim.min(16)).rev().find(fits).unwrap_or(1);
        Self { streams, dim, width }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        if self.width == 0 {
            return Err(ConfigError::Zero("width"));
        }
        match self.entries() {
            Some(entries) if entries <= MOST_ENTRIES => Ok(()),
            _ => Err(ConfigError::TooLarge { width: self.width, modalities: self.streams.len(), most: MOST_ENTRIES }),
        }
    }

    /// Entries of the outer product, if they can be counted.
    fn entries(&self) -> Option<usize> {
        self.width.checked_add(1)?.checked_pow(u32::try_from(self.streams.len()).ok()?)
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If the configuration is not valid.
    pub fn init(&self, device: &Device) -> TensorFusion {
        let entries = self.entries().expect("a valid configuration");
        TensorFusion {
            projections: self.streams.iter().map(|(_, width)| projection(*width, self.width, device)).collect(),
            output: projection(entries, self.dim, device),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Fusion for TensorFusion {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        output_width(&self.output)
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let widths: Vec<usize> = self.projections.iter().map(input_width).collect();
        let vectors = arranged.vectors(&widths).into_iter().zip(&self.projections).enumerate();
        // The bias of the projection would stand in an absent row, so it is filled once more.
        let projected = vectors.map(|(m, (vector, layer))| arranged.fill(layer.forward(vector), m, 0.0));
        let product = projected.map(with_one).reduce(outer).expect("validated: at least one modality");
        Fused { embedding: self.output.forward(product), tokens: None, weights: None, cost: None }
    }
}

/// `[1; x]`, `[batch, width + 1]`.
pub(crate) fn with_one(x: Tensor<2>) -> Tensor<2> {
    let [batch, _] = x.dims();
    let one = Tensor::ones([batch, 1], (&x.device(), x.dtype()));
    Tensor::cat(vec![one, x], 1)
}

/// The outer product of each row, `[batch, m]` and `[batch, n]` to `[batch, m · n]`.
pub(crate) fn outer(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let ([batch, m], [_, n]) = (left.dims(), right.dims());
    let product = left.unsqueeze_dim::<3>(2) * right.unsqueeze_dim::<3>(1); // [batch, m, n]
    product.reshape([batch, m * n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{close, noisy, pooled};

    const STREAMS: [(Modality, usize); 2] = [(Modality::Text, 4), (Modality::Image, 3)];

    fn fusion() -> TensorFusion {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        noisy(TensorConfig { streams: STREAMS.to_vec(), dim: 5, width: 2 }.init(&device), 4)
    }

    #[test]
    fn the_product_holds_every_order() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let row = |values: [f32; 2]| with_one(Tensor::from_floats([values], &device));
        let found = outer(row([2.0, 3.0]), row([5.0, 7.0])).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found, [1.0, 5.0, 7.0, 2.0, 10.0, 14.0, 3.0, 15.0, 21.0]);
    }

    #[test]
    fn of_an_absent_modality_only_the_terms_without_it_remain() {
        let fusion = fusion();
        let [text, image] = pooled(&fusion.modalities, &[4, 3], 3, 1).try_into().expect("two streams");
        let found = fusion.fuse(&[text.clone(), image.present_in(vec![false; 3])]).embedding;
        // Rows 0, 3 and 6 of the weight are those of the constant and of the text alone.
        let projected = with_one(fusion.projections[0].forward(text.tokens.mean()));
        let rows = Tensor::from_ints([0, 3, 6], &found.device());
        let bias = fusion.output.bias.as_ref().expect("the layer has a bias").val().unsqueeze_dim::<2>(0);
        let expected = florin_backend::product(projected, fusion.output.weight.val().select(0, rows)) + bias;
        close(&found, &expected, 1e-5);
    }

    #[test]
    fn a_product_that_grows_too_large_is_refused() {
        let config = |width| TensorConfig { streams: STREAMS.to_vec(), dim: 5, width };
        assert!(config(1023).validate().is_ok());
        let error = config(1024).validate().expect_err("1025² entries are too many");
        assert_eq!(
            error.to_string(),
            "fusion: an outer product of 2 modalities of width 1024 has more than 1048576 entries"
        );
        assert!(config(usize::MAX).validate().is_err());
    }
}
