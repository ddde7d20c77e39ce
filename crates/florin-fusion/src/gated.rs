//! Gated multimodal unit: for every number of the result, how much each modality may say.
//!
//! `h = Σ_m g_m ⊙ tanh(W_m x_m + b_m)`, with `g = softmax_m(G [x_1; …; x_M] + c)` over the present modalities, for each of the `dim`
//! numbers alone. For two modalities that is the paper's `z` and `1 - z`, the sigmoid of the difference of two scores. The weight of
//! a modality is its mean gate.
//!
//! An absent modality has gates of exactly zero, and its columns of `G` add nothing to the gates of the others. A row that has
//! nothing gets zeros.
//!
//! Paper: Arevalo et al. 2017 (GMU), <https://arxiv.org/abs/1702.01992>
//! Difference: beyond two modalities the paper's gates are sigmoids that know nothing of each other; here they share one.

use burn::prelude::*;
use florin_backend::Activation;
use florin_nn::{Linear, Modality};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{input_width, output_width, projection, shares};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatedConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result.
    pub dim: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Gated {
    /// What each modality says.
    pub values: Vec<Linear>,
    /// Scores of the gates from all modalities side by side, `[all widths, modality · dim]`.
    pub gates: Linear,
    #[module(skip)]
    modalities: Vec<Modality>,
}

impl GatedConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Gated {
        let all = self.streams.iter().map(|(_, width)| width).sum();
        Gated {
            values: self.streams.iter().map(|(_, width)| projection(*width, self.dim, device)).collect(),
            gates: projection(all, self.streams.len() * self.dim, device),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Gated {
    /// The result and the gates.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, width]` each, zero in the rows that lack the modality
    /// - absent: `[batch, modality]`
    /// - output: `[batch, dim]`, and gates `[batch, modality, dim]`
    pub(crate) fn mix(&self, vectors: &[Tensor<2>], absent: Tensor<2, Bool>) -> (Tensor<2>, Tensor<3>) {
        let [batch, modalities] = absent.dims();
        let shape = [batch, modalities, self.dim()];
        let scores = self.gates.forward(Tensor::cat(vectors.to_vec(), 1)).reshape(shape);
        let gates = shares(scores, absent.unsqueeze_dim::<3>(2).expand(shape), 1);
        let said = vectors.iter().zip(&self.values);
        let said = said.map(|(vector, layer)| layer.forward_activated(vector.clone(), Activation::Tanh));
        let said = Tensor::stack::<3>(said.collect(), 1); // [batch, modality, dim]
        ((gates.clone() * said).sum_dim(1).squeeze_dim(1), gates)
    }
}

impl Fusion for Gated {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        output_width(&self.values[0])
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let widths: Vec<usize> = self.values.iter().map(input_width).collect();
        let (embedding, gates) = self.mix(&arranged.vectors(&widths), arranged.absences());
        Fused { embedding, tokens: None, weights: Some(gates.mean_dim(2).squeeze_dim(2)), cost: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{close, pooled};

    #[test]
    fn with_two_modalities_it_is_the_papers_unit() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 2);
        let fusion = GatedConfig { streams: vec![(Modality::Text, 4), (Modality::Image, 3)], dim: 5 }.init(&device);
        let streams = pooled(&fusion.modalities, &[4, 3], 6, 3);
        let [text, image] = [0, 1].map(|m| streams[m].tokens.mean());
        let scores = fusion.gates.forward(Tensor::cat(vec![text.clone(), image.clone()], 1));
        let difference = scores.clone().narrow(1, 0, 5) - scores.narrow(1, 5, 5);
        let z = (difference.neg().exp() + 1.0).recip();
        let [text, image] = [fusion.values[0].forward(text).tanh(), fusion.values[1].forward(image).tanh()];
        let expected = z.clone() * text + (z.neg() + 1.0) * image;
        close(&fusion.fuse(&streams).embedding, &expected, 1e-5);
    }

    #[test]
    fn gates_differ_between_inputs() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 2);
        let fusion = GatedConfig { streams: vec![(Modality::Text, 4), (Modality::Image, 3)], dim: 5 }.init(&device);
        let weights = fusion.fuse(&pooled(&fusion.modalities, &[4, 3], 2, 3)).weights.expect("gates are weights");
        let gap = (weights.clone().narrow(0, 0, 1) - weights.narrow(0, 1, 1)).abs().max();
        assert!(gap.into_scalar::<f32>() > 1e-3, "a dynamic gate must follow its input");
    }
}
