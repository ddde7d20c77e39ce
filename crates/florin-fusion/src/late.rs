//! Late fusion: every modality is judged alone, and only the judgements are put together.
//!
//! Each modality has a network of its own, `h_m = GELU(W_m x_m + b_m)`, and then, by [`LateCombination`]:
//!
//! - concatenated: `O [h_1; …; h_M; present] + c`, with a learned placeholder instead of `h_m` where m is absent;
//! - weighted sum: `Σ w_m e_m` with `e_m = V_m h_m + c_m` and `w` the softmax of learned scores over the present ones;
//! - product of experts: `log p = log_softmax(Σ log_softmax(e_m))` over the present ones, `dim` counting classes. An absent
//!   expert is uniform, the neutral element of the product.
//!
//! All three are additive: for given presence, the result is `Σ f_m(x_m)`, up to the product's normaliser, which is the same for
//! all classes. No linear reading of it, and no choice between two classes, can depend on an interaction of modalities. A row that
//! has nothing gets the placeholders' result, zeros, and the uniform distribution.
//!
//! Paper: Hinton 2002 (product of experts), <https://doi.org/10.1162/089976602760128018>
//! Difference: experts are trained together through their product; the other two forms have no single source.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::{Activation, log_softmax};
use florin_nn::{Linear, Modality, normal, zeros};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{input_width, output_width, projection, shares};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream};

/// How the judgements are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateCombination {
    /// Side by side through a linear layer.
    #[default]
    Concatenated,
    /// With learned weights, the same for every input.
    WeightedSum,
    /// Log-probabilities added and normalised.
    ProductOfExperts,
}

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result; for a product of experts the number of classes.
    pub dim: usize,
    /// Width of each modality's own layer.
    pub hidden: usize,
    /// How the judgements are put together.
    #[serde(default)]
    pub combination: LateCombination,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Late {
    /// Each modality's own layer.
    pub hidden: Vec<Linear>,
    /// Each modality's judgement, except when concatenated.
    pub experts: Vec<Linear>,
    /// What stands for each absent modality when concatenated, `[modality, hidden]`.
    pub placeholders: Option<Param<Tensor<2>>>,
    /// All together, when concatenated.
    pub output: Option<Linear>,
    /// Learned scores of a weighted sum, `[modality]`.
    pub scores: Option<Param<Tensor<1>>>,
    #[module(skip)]
    combination: LateCombination,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl LateConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.hidden == 0 {
            return Err(ConfigError::Zero("hidden"));
        }
        validate_streams(&self.streams, self.dim)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Late {
        let (count, hidden) = (self.streams.len(), self.hidden);
        let concatenated = self.combination == LateCombination::Concatenated;
        let experts = if concatenated { 0 } else { count };
        Late {
            hidden: self.streams.iter().map(|(_, width)| projection(*width, hidden, device)).collect(),
            experts: (0..experts).map(|_| projection(hidden, self.dim, device)).collect(),
            placeholders: concatenated.then(|| normal([count, hidden], 0.02, device)),
            output: concatenated.then(|| projection(count * (hidden + 1), self.dim, device)),
            scores: (self.combination == LateCombination::WeightedSum).then(|| zeros([count], device)),
            combination: self.combination,
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Late {
    fn concatenated(&self, arranged: &Arranged, hidden: Vec<Tensor<2>>) -> Tensor<2> {
        let placeholders = self.placeholders.as_ref().expect("made when concatenated").val();
        let parts = hidden.into_iter().enumerate().map(|(m, hidden)| {
            let shape = hidden.dims();
            let absent = arranged.absent(m).unsqueeze_dim::<2>(1).expand(shape);
            hidden.mask_where(absent, placeholders.clone().narrow(0, m, 1).expand(shape))
        });
        let parts = parts.chain(std::iter::once(arranged.presence())).collect();
        self.output.as_ref().expect("made when concatenated").forward(Tensor::cat(parts, 1))
    }

    /// The learned weights, normalised over what each row has, `[batch, modality]`.
    fn shares(&self, arranged: &Arranged) -> Tensor<2> {
        let scores = self.scores.as_ref().expect("made for a weighted sum").val();
        let absent = arranged.absences();
        shares(scores.unsqueeze_dim::<2>(0).expand(absent.dims()), absent, 1)
    }

    fn product(&self, arranged: &Arranged, experts: Vec<Tensor<2>>) -> Tensor<2> {
        let parts = experts.into_iter().enumerate();
        let parts = parts.map(|(m, expert)| arranged.fill(log_softmax(expert, 1), m, 0.0));
        log_softmax(parts.reduce(|sum, part| sum + part).expect("validated: at least one modality"), 1)
    }
}

impl Fusion for Late {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        output_width(self.output.as_ref().unwrap_or_else(|| &self.experts[0]))
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let widths: Vec<usize> = self.hidden.iter().map(input_width).collect();
        let vectors = arranged.vectors(&widths).into_iter().zip(&self.hidden);
        let hidden: Vec<Tensor<2>> =
            vectors.map(|(vector, layer)| layer.forward_activated(vector, Activation::Gelu)).collect();
        let experts = || hidden.iter().zip(&self.experts).map(|(hidden, expert)| expert.forward(hidden.clone()));
        let (embedding, weights) = match self.combination {
            LateCombination::Concatenated => (self.concatenated(&arranged, hidden), None),
            LateCombination::ProductOfExperts => (self.product(&arranged, experts().collect()), None),
            LateCombination::WeightedSum => {
                let weights = self.shares(&arranged);
                let parts = experts().enumerate().map(|(m, expert)| expert * weights.clone().narrow(1, m, 1));
                (parts.reduce(|sum, part| sum + part).expect("validated: at least one modality"), Some(weights))
            }
        };
        Fused { embedding, tokens: None, weights, cost: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{close, noisy, pooled, rows};

    const WIDTHS: [usize; 3] = [4, 3, 5];

    fn fusion(combination: LateCombination) -> Late {
        let streams = [Modality::Text, Modality::Image, Modality::Series].into_iter().zip(WIDTHS).collect();
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let fusion = noisy(LateConfig { streams, dim: 4, hidden: 6, combination }.init(&device), 5);
        let scores = fusion.scores.as_ref().map(|_| Param::from_tensor(Tensor::from_floats([0.5, -1.0, 2.0], &device)));
        Late { scores, ..fusion }
    }

    /// `f(a, b) - f(a, b') - f(a', b) + f(a', b')`, zero for any additive function.
    fn interaction(fusion: &Late) -> Vec<f32> {
        let streams = pooled(&fusion.modalities, &WIDTHS, 4, 7);
        let of = |text: i64, image: i64| {
            let given: Vec<Stream> = [(0, text), (1, image), (2, 0)].map(|(m, row)| rows(&streams[m], &[row])).into();
            fusion.fuse(&given).embedding
        };
        (of(0, 0) - of(0, 1) - of(1, 0) + of(1, 1)).into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn every_form_is_additive() {
        for combination in [LateCombination::Concatenated, LateCombination::WeightedSum] {
            let interaction = interaction(&fusion(combination));
            assert!(interaction.iter().all(|value| value.abs() < 1e-5), "{combination:?}: {interaction:?}");
        }
        // Of a product the difference of two classes' logarithms is additive; each alone carries the normaliser.
        let product = interaction(&fusion(LateCombination::ProductOfExperts));
        assert!(product.iter().all(|value| (value - product[0]).abs() < 1e-5), "{product:?}");
        assert!(product[0].abs() > 1e-4, "the normaliser is no sum, or this test sees nothing: {product:?}");
    }

    #[test]
    fn a_product_is_a_distribution_and_an_absent_expert_is_uniform() {
        let fusion = fusion(LateCombination::ProductOfExperts);
        let [text, image, series] = pooled(&fusion.modalities, &WIDTHS, 3, 11).try_into().expect("three streams");
        let both = fusion.fuse(&[text.clone(), image.clone(), series.present_in(vec![false; 3])]).embedding;
        close(&both.clone().exp().sum_dim(1), &Tensor::ones([3, 1], &both.device()), 1e-5);
        let [first, second] = [text, image].map(|stream| fusion.fuse(&[stream]).embedding);
        close(&both, &log_softmax(first + second, 1), 1e-5);
        let nothing = fusion.fuse(&[pooled(&fusion.modalities, &WIDTHS, 3, 11)[0].clone().present_in(vec![false; 3])]);
        close(&nothing.embedding, &Tensor::full([3, 4], -(4f32.ln()), &both.device()), 1e-6);
    }

    #[test]
    fn a_weighted_sum_is_normalised_over_what_is_present() {
        let fusion = fusion(LateCombination::WeightedSum);
        let [text, image, _] = pooled(&fusion.modalities, &WIDTHS, 1, 13).try_into().expect("three streams");
        let weights = fusion.fuse(&[image, text]).weights.expect("this form has weights");
        let share = 1.0 / (1.0 + (-1.5f32).exp());
        close(&weights, &Tensor::from_floats([[share, 1.0 - share, 0.0]], &weights.device()), 1e-6);
    }
}
