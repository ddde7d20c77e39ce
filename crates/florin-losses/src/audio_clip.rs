//! CLIP's loss over sound, picture and text: the sum of the three pairwise losses.
//!
//! `loss = L(audio, image) + L(audio, text) + L(image, text)`, each [`ClipLoss`] over the rows that have both, with its own scale.
//!
//! Paper: Guzhov et al. 2021 (AudioCLIP), <https://arxiv.org/abs/2106.13043>
//! Difference: rows may lack a modality; a pair that no row has costs nothing.

use burn::prelude::*;

use crate::clip::ClipLoss;
use crate::modality_vectors::ModalityVectors;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct AudioClipLoss {
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// Logarithms of the three scales, `[1]` each.
#[derive(Clone, Debug)]
pub struct AudioClipScales {
    /// Of sound and picture.
    pub audio_image: Tensor<1>,
    /// Of sound and text.
    pub audio_text: Tensor<1>,
    /// Of picture and text.
    pub image_text: Tensor<1>,
}

/// The loss and its three pairs.
#[derive(Clone, Debug)]
pub struct AudioClipLossParts {
    /// Their sum, `[1]`.
    pub loss: Tensor<1>,
    /// Sound and picture, `[1]`.
    pub audio_image: Tensor<1>,
    /// Sound and text, `[1]`.
    pub audio_text: Tensor<1>,
    /// Picture and text, `[1]`.
    pub image_text: Tensor<1>,
}

impl Default for AudioClipLoss {
    fn default() -> Self {
        Self { chunk: 512 }
    }
}

impl AudioClipLoss {
    /// # Shapes
    ///
    /// - audio, image, text: `[batch, dim]` each; row i of all is one sample
    /// - log_scales: see [`AudioClipScales`]
    ///
    /// # Panics
    ///
    /// If batches or widths differ.
    pub fn forward(
        &self,
        audio: &ModalityVectors,
        image: &ModalityVectors,
        text: &ModalityVectors,
        log_scales: AudioClipScales,
    ) -> AudioClipLossParts {
        let audio_image = self.pair(audio, image, log_scales.audio_image);
        let audio_text = self.pair(audio, text, log_scales.audio_text);
        let image_text = self.pair(image, text, log_scales.image_text);
        let loss = audio_image.clone() + audio_text.clone() + image_text.clone();
        AudioClipLossParts { loss, audio_image, audio_text, image_text }
    }

    fn pair(&self, one: &ModalityVectors, other: &ModalityVectors, log_scale: Tensor<1>) -> Tensor<1> {
        assert_eq!(one.vectors.dims(), other.vectors.dims(), "modalities must have the same samples and width");
        let shared: Vec<i32> = one.shared(other).into_iter().map(|row| row as i32).collect();
        if shared.is_empty() {
            return log_scale.detach().zeros_like();
        }
        let rows = Tensor::<1, Int>::from_ints(shared.as_slice(), &one.vectors.device());
        let some = |side: &ModalityVectors| side.vectors.clone().select(0, rows.clone());
        ClipLoss { chunk: self.chunk }.forward(some(one), some(other), log_scale).loss
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn a_row_counts_for_the_pairs_it_has() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        florin_backend::seed(&device, 62);
        let [audio, image, text] =
            [0, 1, 2].map(|_| Tensor::<2>::random([5, 4], Distribution::Normal(0.0, 1.0), &device).require_grad());
        let log = || Tensor::<1>::from_floats([1.0], &device);
        let scales = AudioClipScales { audio_image: log(), audio_text: log(), image_text: log() };
        let absent = ModalityVectors::of_all(audio.clone()).present_in(vec![false, true, true, true, false]);
        let never = ModalityVectors::of_all(text.clone() * f32::NAN).present_in(vec![false; 5]);
        let whole = ModalityVectors::of_all(image.clone());
        let parts = AudioClipLoss::default().forward(&absent, &whole, &never, scales);
        let some = |x: &Tensor<2>| x.clone().narrow(0, 1, 3);
        let clip = ClipLoss::default().forward(some(&audio), some(&image), log()).loss;
        let [loss, only, audio_text, image_text, clip] =
            [&parts.loss, &parts.audio_image, &parts.audio_text, &parts.image_text, &clip]
                .map(|part| part.clone().into_scalar::<f32>());
        assert_eq!([audio_text, image_text], [0.0, 0.0]);
        assert!((only - clip).abs() < 1e-6 && loss == only);
        let gradient = image.grad(&parts.loss.backward()).expect("tracked");
        assert!(gradient.abs().sum().into_scalar::<f32>().is_finite());
    }
}
