//! Low-rank fusion: tensor fusion whose weight is a sum of outer products, so that the outer product is never made.
//!
//! `h = Σ_r ⊙_m (W_r^m [1; x_m])`, with `W_r^m` of `[dim, width + 1]`. It equals tensor fusion of the `x_m` themselves with the weight
//! `Σ_r ⊗_m W_r^m`: the row of `W` that meets the 1 is a factor's bias, and holds every term of lower order.
//!
//! An absent modality is `[1; 0]`, as in tensor fusion: its factors are their biases, so that exactly the terms without it remain
//! and the equality with tensor fusion holds for every row, whatever it lacks. The neutral factor of ones would instead change the
//! weights of those terms. Seen otherwise: the absent modality is removed, and its biases are folded into the others' factors. A row
//! that has nothing keeps the constant term. The kind defines no weights. As a polynomial of degree M it wants normalised inputs.
//!
//! Paper: Liu et al. 2018 (LMF), <https://arxiv.org/abs/1806.00064>
//! Difference: none in the formula; the released code weighs the ranks and adds a bias, which the factors already hold.

use burn::prelude::*;
use florin_nn::{Linear, Modality, normal};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{input_width, output_width};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LowRankConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result.
    pub dim: usize,
    /// How many outer products are added.
    pub rank: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct LowRank {
    /// The factors of each modality, `[width, rank · dim]`, rank after rank; the bias is the row of the 1.
    pub factors: Vec<Linear>,
    rank: usize,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl LowRankConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.rank == 0 {
            return Err(ConfigError::Zero("rank"));
        }
        validate_streams(&self.streams, self.dim)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> LowRank {
        LowRank {
            factors: self.streams.iter().map(|(_, width)| self.factor(*width, device)).collect(),
            rank: self.rank,
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }

    /// Biases are drawn like the other rows: at zero, no modality alone would reach the result.
    fn factor(&self, width: usize, device: &Device) -> Linear {
        let (output, deviation) = (self.rank * self.dim, 1.0 / ((width + 1) as f64).sqrt());
        Linear { weight: normal([width, output], deviation, device), bias: Some(normal([output], deviation, device)) }
    }
}

impl Fusion for LowRank {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        output_width(&self.factors[0]) / self.rank
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let widths: Vec<usize> = self.factors.iter().map(input_width).collect();
        let vectors = arranged.vectors(&widths).into_iter().zip(&self.factors);
        // Zero in an absent row leaves the bias: [1; 0].
        let factors = vectors.map(|(vector, factor)| factor.forward(vector));
        let product = factors.reduce(|product, factor| product * factor).expect("validated: at least one modality");
        let embedding = product.reshape([arranged.batch, self.rank, self.dim()]).sum_dim(1).squeeze_dim(1);
        Fused { embedding, tokens: None, weights: None, cost: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{close, pooled};
    use crate::tensor::{outer, with_one};

    const WIDTHS: [usize; 3] = [4, 3, 2];

    fn fusion() -> LowRank {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 4);
        let streams = [Modality::Text, Modality::Image, Modality::Audio].into_iter().zip(WIDTHS).collect();
        LowRankConfig { streams, dim: 5, rank: 3 }.init(&device)
    }

    /// `[1; ..]` rows of a modality's factors, `[width + 1, rank · dim]`.
    fn rows(factor: &Linear) -> Tensor<2> {
        let bias = factor.bias.as_ref().expect("a factor has a row for the 1").val();
        Tensor::cat(vec![bias.unsqueeze_dim::<2>(0), factor.weight.val()], 0)
    }

    #[test]
    fn it_is_tensor_fusion_with_the_reconstructed_weight_whatever_is_absent() {
        let fusion = fusion();
        let streams = pooled(&fusion.modalities, &WIDTHS, 4, 1);
        let absent = [vec![true, true, false, false], vec![true; 4], vec![true, false, true, false]];
        let streams: Vec<Stream> = streams.into_iter().zip(absent).map(|(s, present)| s.present_in(present)).collect();
        // A column of [rank · dim] at a time, the outer product of its rows; ranks are added at the end.
        let columns = fusion.factors.iter().map(|factor| rows(factor).transpose()); // [rank · dim, width + 1]
        let weight = columns.reduce(outer).expect("three modalities"); // [rank · dim, entries]
        let weight = weight.reshape([3, 5, 60]).sum_dim(0).reshape([5, 60]).transpose(); // [entries, dim]
        let arranged = Arranged::new(&fusion.modalities, &streams);
        let product = arranged.vectors(&WIDTHS).into_iter().map(with_one).reduce(outer).expect("three modalities");
        close(&fusion.fuse(&streams).embedding, &florin_backend::product(product, weight), 1e-5);
    }

    #[test]
    fn an_absent_modality_is_removed_with_its_biases_folded_into_another() {
        let fusion = fusion();
        let [text, image, _] = pooled(&fusion.modalities, &WIDTHS, 4, 1).try_into().expect("three streams");
        let [first, second, third] = fusion.factors.clone().try_into().expect("three factors");
        let fold = third.bias.as_ref().expect("a factor has a bias").val();
        let folded = Linear {
            weight: first.weight.map(|weight| weight * fold.clone().unsqueeze_dim::<2>(0)),
            bias: first.bias.map(|bias| bias.map(|bias| bias * fold)),
        };
        let modalities = fusion.modalities[..2].to_vec();
        let without = LowRank { factors: vec![folded, second], rank: 3, modalities };
        let streams = [text, image];
        close(&fusion.fuse(&streams).embedding, &without.fuse(&streams).embedding, 1e-5);
    }
}
