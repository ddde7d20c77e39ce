//! The contrastive loss of sound and text with one scale a direction.
//!
//! `loss = ½ (mean_i CE(s_a·Âᵢ·T̂, i) + mean_i CE(s_t·T̂ᵢ·Â, i))`.
//!
//! Paper: Wu et al. 2022 (CLAP), <https://arxiv.org/abs/2211.06687>
//! Difference: none from the paper. transformers' ClapModel (5.23.0) transposes the sounds' scores before its loss, so that both of its
//! terms let texts pick sounds and none lets sounds pick texts; here each direction is its own.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, unit_rows};

use crate::contrast::Similarities;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct ClapLoss {
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// The loss and its two directions.
#[derive(Clone, Debug)]
pub struct ClapLossParts {
    /// Mean of both directions, `[1]`.
    pub loss: Tensor<1>,
    /// Sounds picking texts, `[1]`.
    pub audio_to_text: Tensor<1>,
    /// Texts picking sounds, `[1]`.
    pub text_to_audio: Tensor<1>,
}

impl Default for ClapLoss {
    fn default() -> Self {
        Self { chunk: 512 }
    }
}

impl ClapLoss {
    /// # Shapes
    ///
    /// - audio, text: `[batch, dim]`, of any length: they are normalised here; row i of both is a pair
    /// - log_scale_audio, log_scale_text: `[1]`, of the sounds' choice and of the texts'; see [`LogitScale`](crate::LogitScale)
    ///
    /// # Panics
    ///
    /// If sounds and texts are not pairs.
    pub fn forward(
        &self,
        audio: Tensor<2>,
        text: Tensor<2>,
        log_scale_audio: Tensor<1>,
        log_scale_text: Tensor<1>,
    ) -> ClapLossParts {
        assert_eq!(audio.dims(), text.dims(), "sounds and texts must be pairs");
        let (audio, text) = (unit_rows(audio), unit_rows(text));
        let audio_to_text = one_direction(audio.clone(), text.clone(), log_scale_audio.exp(), self.chunk);
        let text_to_audio = one_direction(text, audio, log_scale_text.exp(), self.chunk);
        let loss = (audio_to_text.clone() + text_to_audio.clone()) / 2.0;
        ClapLossParts { loss, audio_to_text, text_to_audio }
    }
}

/// Mean cross-entropy of each query's choice of its own key, `[1]`; both of length one.
pub(crate) fn one_direction(queries: Tensor<2>, keys: Tensor<2>, scale: Tensor<1>, chunk: usize) -> Tensor<1> {
    let (mean, _) = one_direction_and_accuracy(queries, keys, scale, chunk);
    mean
}

/// The same, and the share of queries that choose rightly, `[1]`.
pub(crate) fn one_direction_and_accuracy(
    queries: Tensor<2>,
    keys: Tensor<2>,
    scale: Tensor<1>,
    chunk: usize,
) -> (Tensor<1>, Tensor<1>) {
    let [batch, _] = queries.dims();
    let own = |rows: Range<usize>| RowTargets::new(KeyLists::new(rows.map(|row| [row])));
    let (sum, hits) = Similarities::new(queries, keys, scale, chunk).cross_entropy_and_hits(&own);
    (sum / batch as f64, hits / batch as f64)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::ClipLoss;

    #[test]
    fn with_one_scale_it_is_clip_and_each_scale_has_a_direction_of_its_own() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 61);
        let [audio, text] = [0, 1].map(|_| Tensor::<2>::random([5, 4], Distribution::Normal(0.0, 1.0), &device));
        let log = |scale: f32| Tensor::<1>::from_floats([scale], &device);
        let clap = |a: f32, t: f32| {
            let parts = ClapLoss::default().forward(audio.clone(), text.clone(), log(a), log(t));
            [parts.loss, parts.audio_to_text, parts.text_to_audio].map(|part| part.into_scalar::<f32>())
        };
        let clip = ClipLoss::default().forward(audio.clone(), text.clone(), log(2.0));
        let expected = [clip.loss, clip.image_to_text, clip.text_to_image].map(|part| part.into_scalar::<f32>());
        let (same, other) = (clap(2.0, 2.0), clap(3.0, 2.0));
        assert!(same.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-6));
        assert_eq!(other[2], same[2]);
        assert!((other[1] - same[1]).abs() > 1e-2);
    }
}
