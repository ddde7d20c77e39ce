//! The learned factor of a contrastive loss's similarities, kept as its logarithm.
//!
//! Paper: Radford et al. 2021 (CLIP), <https://arxiv.org/abs/2103.00020>
//! Difference: none; the clamp follows the optimiser's step, as in open_clip. Hugging Face's CLIP never clamps.

use burn::module::Param;
use burn::prelude::*;

/// `ln(1 / temperature)`.
#[derive(Module, Debug)]
pub struct LogitScale {
    /// The logarithm, `[1]`.
    pub log: Param<Tensor<1>>,
}

impl LogitScale {
    /// CLIP's first temperature.
    pub const CLIP_TEMPERATURE: f64 = 0.07;
    /// CLIP's largest factor.
    pub const MOST: f64 = 100.0;

    /// Starts at a temperature: 0.07 for CLIP, 0.1 for SigLIP.
    pub fn new(temperature: f64, device: &Device) -> Self {
        Self { log: Param::from_tensor(Tensor::from_floats([(1.0 / temperature).ln() as f32], device)) }
    }

    /// The logarithm, `[1]`: what the losses take.
    pub fn value(&self) -> Tensor<1> {
        self.log.val()
    }

    /// Keeps the factor between 1 and 100; to be called after every step of the optimiser.
    pub fn clamped(self) -> Self {
        let tracked = self.log.val().is_require_grad();
        let log = self.log.map(|log| {
            // A new leaf: autodiff does not track what was computed from another tensor.
            let log = Tensor::from_data(log.clone().clamp(0.0, Self::MOST.ln()).into_data(), &log.device());
            if tracked { log.require_grad() } else { log }
        });
        Self { log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_kept_between_one_and_a_hundred_and_goes_on_learning() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let after = |temperature: f64| {
            let scale = LogitScale::new(temperature, &device).clamped();
            assert!(scale.value().is_require_grad());
            scale.value().exp().into_scalar::<f32>()
        };
        assert!((after(0.07) - 1.0 / 0.07).abs() < 1e-4, "inside the range nothing changes");
        assert!((after(1e-4) - 100.0).abs() < 1e-3);
        assert!((after(50.0) - 1.0).abs() < 1e-6);
    }
}
