//! CAV-MAE's loss: masked patches of sound and picture are reconstructed, and pooled vectors of both find each other.
//!
//! `loss = 1.0 · (L_audio + L_video) + 0.01 · L_contrast`, `L_contrast = −mean_i log (exp(v̂ᵢ·âᵢ/τ) / Σⱼ exp(v̂ᵢ·âⱼ/τ))`, τ = 0.05.
//!
//! The reconstructions are losses of masked patches with normalised targets, from whoever computes those.
//!
//! Paper: Gong et al. 2022 (CAV-MAE), <https://arxiv.org/abs/2210.07839>
//! Difference: none; one direction, each picture picking its sound, is the released code's default, both are its option.

use burn::prelude::*;
use florin_backend::unit_rows;

use crate::clap::one_direction_and_accuracy;
use crate::error::{LossError, check};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct CavMaeLoss {
    /// Weight of the contrast: 0.01.
    pub contrast_weight: f64,
    /// Weight of both reconstructions: 1.
    pub reconstruction_weight: f64,
    /// Divides similarities: 0.05.
    pub temperature: f64,
    /// Who picks.
    pub directions: CavMaeDirections,
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// Who picks its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CavMaeDirections {
    /// Each picture its sound.
    VideoToAudio,
    /// That, and each sound its picture; the mean.
    Both,
}

/// The loss and what it is made of, before weights.
#[derive(Clone, Debug)]
pub struct CavMaeLossParts {
    /// The weighted sum, `[1]`.
    pub loss: Tensor<1>,
    /// The contrast, `[1]`.
    pub contrast: Tensor<1>,
    /// Sum of both reconstructions, `[1]`.
    pub reconstruction: Tensor<1>,
    /// Share of pictures that pick their sound, `[1]`, without gradient.
    pub accuracy: Tensor<1>,
}

impl Default for CavMaeLoss {
    fn default() -> Self {
        let directions = CavMaeDirections::VideoToAudio;
        Self { contrast_weight: 0.01, reconstruction_weight: 1.0, temperature: 0.05, directions, chunk: 512 }
    }
}

impl CavMaeLoss {
    /// Refuses what would divide by zero or reward mistakes.
    pub fn validate(&self) -> Result<(), LossError> {
        check("temperature", self.temperature, "above 0", |temperature| temperature > 0.0)?;
        check("contrast_weight", self.contrast_weight, "at least 0", |weight| weight >= 0.0)?;
        check("reconstruction_weight", self.reconstruction_weight, "at least 0", |weight| weight >= 0.0)
    }

    /// # Shapes
    ///
    /// - audio, video: `[batch, dim]`, pooled, of any length; row i of both is a pair
    /// - audio_reconstruction, video_reconstruction: `[1]`, the masked-patch losses
    ///
    /// # Panics
    ///
    /// If sounds and pictures are not pairs.
    pub fn forward(
        &self,
        audio: Tensor<2>,
        video: Tensor<2>,
        audio_reconstruction: Tensor<1>,
        video_reconstruction: Tensor<1>,
    ) -> CavMaeLossParts {
        assert_eq!(audio.dims(), video.dims(), "sounds and pictures must be pairs");
        let (audio, video) = (unit_rows(audio), unit_rows(video));
        let scale = Tensor::<1>::ones([1], &audio.device()).cast(audio.dtype()) / self.temperature;
        let (forth, accuracy) = one_direction_and_accuracy(video.clone(), audio.clone(), scale.clone(), self.chunk);
        let contrast = match self.directions {
            CavMaeDirections::VideoToAudio => forth,
            CavMaeDirections::Both => (forth + one_direction_and_accuracy(audio, video, scale, self.chunk).0) / 2.0,
        };
        let reconstruction = audio_reconstruction + video_reconstruction;
        let loss = contrast.clone() * self.contrast_weight + reconstruction.clone() * self.reconstruction_weight;
        CavMaeLossParts { loss, contrast, reconstruction, accuracy }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn weights_are_those_of_the_config_and_the_parts_are_before_them() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 63);
        let [audio, video] = [0, 1].map(|_| Tensor::<2>::random([5, 4], Distribution::Normal(0.0, 1.0), &device));
        let one = |x: f32| Tensor::<1>::from_floats([x], &device);
        let loss = CavMaeLoss { contrast_weight: 2.0, reconstruction_weight: 0.5, ..CavMaeLoss::default() };
        let parts = loss.forward(audio, video.clone(), one(3.0), one(5.0));
        let [total, contrast, reconstruction] =
            [parts.loss, parts.contrast, parts.reconstruction].map(|part| part.into_scalar::<f32>());
        assert!(contrast > 0.1 && reconstruction == 8.0);
        assert!((total - (2.0 * contrast + 4.0)).abs() < 1e-5);
        let found = loss.forward(video.clone(), video, one(0.0), one(0.0)).accuracy.into_scalar::<f32>();
        assert_eq!(found, 1.0, "every picture is its own sound");
        assert!(CavMaeLoss { temperature: 0.0, ..loss }.validate().is_err());
        assert!(CavMaeLoss { contrast_weight: -1.0, ..loss }.validate().is_err());
    }
}
