//! The error of reconstructed patches, where they were hidden from the encoder.
//!
//! `loss = 1/|M| Σ_{p∈M} mean((predictedₚ − targetₚ)²)`, M the masked patches; the target is the patch itself, or with its own mean
//! and variance taken out, `(x − μ) / √(σ² + 1e-6)`, σ² divided by one less than the number of pixels.
//!
//! Paper: He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>
//! Difference: none. The mean is over masked patches, not over all; Hugging Face leaves normalised targets off unless asked.

use burn::prelude::*;
use florin_backend::{Counting, squared_differences};

use crate::counting::{blanked, counted};

/// What a patch's reconstruction is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchTarget {
    /// Pixels less the patch's mean, divided by its deviation: the paper's better recipe.
    #[default]
    Normalised,
    /// Pixels as they are.
    Raw,
}

/// The loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaskedImageLoss {
    /// What is reconstructed.
    pub target: PatchTarget,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct MaskedImageLossParts {
    /// Mean over all masked patches, `[1]`; zero where none is masked.
    pub loss: Tensor<1>,
    /// Mean over each picture's masked patches, `[batch]`; zero for one with none.
    pub per_picture: Tensor<1>,
}

/// Added to a patch's variance, as in the authors' code.
const EPSILON: f64 = 1e-6;

impl MaskedImageLoss {
    /// # Shapes
    ///
    /// - predicted: `[batch, patches, pixels]`
    /// - patches: `[batch, patches, pixels]`, the true ones as [`patchify`] gives them; they get no gradient
    /// - masked: `[batch, patches]`, true where the encoder did not see the patch; others have no effect, whatever stands there
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn forward(&self, predicted: Tensor<3>, patches: Tensor<3>, masked: Tensor<2, Bool>) -> MaskedImageLossParts {
        let [batch, count, pixels] = predicted.dims();
        assert_eq!(patches.dims(), predicted.dims(), "a patch is predicted pixel by pixel");
        assert_eq!(masked.dims(), [batch, count], "every patch is masked or not");
        let here = masked.clone().unsqueeze_dim::<3>(2);
        let patches = blanked(patches.detach(), here.clone());
        let target = match self.target {
            PatchTarget::Normalised => normalised_patches(patches),
            PatchTarget::Raw => patches,
        };
        let [predicted, target] = [predicted, target].map(|x| x.reshape([batch * count, pixels]));
        let rows = Counting::rows(masked.clone().reshape([batch * count]));
        let errors = squared_differences(predicted, target, rows) / pixels as f64;
        let means = counted(errors.reshape([batch, count]), masked);
        MaskedImageLossParts { loss: means.mean, per_picture: means.per_row }
    }
}

/// Pictures cut into square patches, rows of patches from the top, the channels of a pixel beside each other, as Hugging Face's ViTMAE
/// orders them.
///
/// # Shapes
///
/// - pictures: `[batch, channels, height, width]`
/// - output: `[batch, patches, patch · patch · channels]`
///
/// # Panics
///
/// If `patch` does not divide height and width.
pub fn patchify(pictures: Tensor<4>, patch: usize) -> Tensor<3> {
    let [batch, channels, height, width] = pictures.dims();
    assert!(
        patch > 0 && height.is_multiple_of(patch) && width.is_multiple_of(patch),
        "patches of {patch} do not divide {height} x {width}"
    );
    let (down, across) = (height / patch, width / patch);
    pictures
        .reshape([batch, channels, down, patch, across, patch])
        .permute([0, 2, 4, 3, 5, 1]) // [batch, down, across, patch, patch, channels]
        .reshape([batch, down * across, patch * patch * channels])
}

/// The pictures that patches were cut from: what [`patchify`] undoes.
///
/// # Shapes
///
/// - patches: `[batch, patches, patch · patch · channels]`
/// - size: height and width of the pictures
/// - output: `[batch, channels, height, width]`
///
/// # Panics
///
/// If `patch` does not divide the size, or there are not as many patches or pixels as it asks for.
pub fn unpatchify(patches: Tensor<3>, patch: usize, size: [usize; 2]) -> Tensor<4> {
    let [batch, count, pixels] = patches.dims();
    let [height, width] = size;
    assert!(
        patch > 0 && height.is_multiple_of(patch) && width.is_multiple_of(patch),
        "patches of {patch} do not divide {height} x {width}"
    );
    let (down, across, channels) = (height / patch, width / patch, pixels / (patch * patch));
    assert_eq!((down * across, channels * patch * patch), (count, pixels), "patches and pixels of {height} x {width}");
    patches
        .reshape([batch, down, across, patch, patch, channels])
        .permute([0, 5, 1, 3, 2, 4]) // [batch, channels, down, patch, across, patch]
        .reshape([batch, channels, height, width])
}

/// Each patch with mean zero and variance one; a patch of one colour becomes zero.
fn normalised_patches(patches: Tensor<3>) -> Tensor<3> {
    let [_, _, pixels] = patches.dims();
    let centred = patches.clone() - patches.mean_dim(2);
    // A patch of a single number has no variance; dividing by one leaves it zero.
    let degrees = pixels.saturating_sub(1).max(1) as f64;
    let variance = centred.clone().square().sum_dim(2) / degrees;
    centred / (variance + EPSILON).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values};

    fn loss(target: PatchTarget, predicted: Tensor<3>, patches: Tensor<3>, masked: &[bool]) -> MaskedImageLossParts {
        let [batch, count, _] = predicted.dims();
        let masked = marks([batch, count], masked, &predicted.device());
        MaskedImageLoss { target }.forward(predicted, patches, masked)
    }

    #[test]
    fn the_loss_is_the_one_worked_out_by_hand() {
        let device = device();
        let predicted = single([1, 3, 2], &[0.0, 0.0, 1.0, 3.0, 9.0, 9.0], &device);
        let patches = single([1, 3, 2], &[2.0, 4.0, 1.0, 1.0, 5.0, 5.0], &device);
        let masked = [true, true, false];
        // Raw: (4 + 16) / 2 = 10 and (0 + 4) / 2 = 2.
        let raw = loss(PatchTarget::Raw, predicted.clone(), patches.clone(), &masked);
        assert!((number(raw.loss) - 6.0).abs() < 1e-6);
        // The patch 2, 4 has an unbiased variance of 2, so that its target is ∓1/√2; that of one colour is 0.
        let normalised = loss(PatchTarget::Normalised, predicted, patches, &masked);
        assert!((number(normalised.loss) - (0.5 + 5.0) / 2.0).abs() < 1e-5);
    }

    #[test]
    fn patches_run_by_rows_with_the_channels_of_a_pixel_together() {
        let device = device();
        let numbers: Vec<f64> = (0..2 * 4 * 6).map(f64::from).collect();
        let pictures = single([1, 2, 4, 6], &numbers, &device);
        let patches = patchify(pictures.clone(), 2);
        assert_eq!(patches.dims(), [1, 6, 8]);
        // The second patch begins at row 0, column 2; the second channel lies 24 numbers further on.
        let second = patches.clone().narrow(1, 1, 1);
        assert_eq!(values(second), [2.0, 26.0, 3.0, 27.0, 8.0, 32.0, 9.0, 33.0]);
        assert_eq!(values(unpatchify(patches, 2, [4, 6])), values(pictures));
    }

    #[test]
    fn a_picture_with_nothing_masked_costs_nothing_and_gets_no_gradient() {
        let device = device();
        let patches = single([2, 2, 3], &noise(1, 12), &device);
        let predicted = single([2, 2, 3], &noise(2, 12), &device);
        let masked = [false, false, true, false];
        let parts = loss(PatchTarget::Normalised, predicted.clone(), patches.clone(), &masked);
        let per_picture = values(parts.per_picture);
        assert_eq!(per_picture[0], 0.0);
        assert!(
            (number(parts.loss) - per_picture[1]).abs() < 1e-6,
            "the mean is over masked patches, not over pictures"
        );
        let none = |x: Tensor<3>| loss(PatchTarget::Normalised, x, patches.clone(), &[false; 4]).loss;
        assert_eq!(number(none(predicted.clone())), 0.0);
        assert!(gradient(&predicted, &none).iter().all(|&g| g == 0.0));
    }

    #[test]
    fn a_patch_of_one_pixel_or_one_colour_stays_a_number() {
        let device = device();
        for pixels in [1, 4] {
            let flat = single([1, 1, pixels], &vec![0.7; pixels], &device);
            let predicted = Tensor::zeros([1, 1, pixels], &device);
            let found = number(loss(PatchTarget::Normalised, predicted, flat, &[true]).loss);
            assert!(found.abs() < 1e-6, "{pixels} pixels: {found}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_the_encoder_saw_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>(), seen in 0usize..6) {
            let device = device();
            let (clean, pixels) = (noise(seed, 18), noise(seed ^ 1, 18));
            let mut masked = [true; 6];
            masked[seen] = false;
            let spoiled = |numbers: &[f64]| {
                let mut numbers = numbers.to_vec();
                numbers[seen * 3..seen * 3 + 3].fill(f64::NAN);
                numbers
            };
            for target in [PatchTarget::Raw, PatchTarget::Normalised] {
                let of = |patches: Vec<f64>| {
                    let device = device.clone();
                    move |x: Tensor<3>| loss(target, x, single([2, 3, 3], &patches, &device), &masked).loss
                };
                let (good, bad) = (single([2, 3, 3], &clean, &device), single([2, 3, 3], &spoiled(&clean), &device));
                let (plain, odd) = (of(pixels.clone()), of(spoiled(&pixels)));
                prop_assert_eq!(number(plain(good.clone())), number(odd(bad.clone())));
                prop_assert_eq!(gradient(&good, &plain), gradient(&bad, &odd));
            }
        }

        #[test]
        fn the_order_of_pictures_does_not_matter(seed in any::<u64>()) {
            let device = device();
            let [predicted, patches] = [0, 1].map(|of| single([3, 2, 4], &noise(seed ^ of, 24), &device));
            let masked = [true, false, true, true, false, false];
            let flipped: Vec<bool> = masked.chunks(2).rev().flatten().copied().collect();
            let one = loss(PatchTarget::Normalised, predicted.clone(), patches.clone(), &masked);
            let other = loss(PatchTarget::Normalised, predicted.flip([0]), patches.flip([0]), &flipped);
            prop_assert!((number(one.loss) - number(other.loss)).abs() < 1e-5);
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let device = device();
            let patches = noise(seed ^ 9, 12);
            for target in [PatchTarget::Raw, PatchTarget::Normalised] {
                let of = |x: Tensor<3>| {
                    loss(target, x, double([1, 3, 4], &patches, &device), &[true, false, true]).loss
                };
                slopes([1, 3, 4], &noise(seed, 12), &of)?;
            }
        }

        #[test]
        fn pixels_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large: Vec<f64> = noise(seed, 12).iter().map(|value| value * 1e4).collect();
            let patches = single([1, 3, 4], &large, &device);
            let of = |x: Tensor<3>| loss(PatchTarget::Normalised, x, patches.clone(), &[true; 3]).loss;
            prop_assert!(number(of(patches.clone())).is_finite());
            prop_assert!(gradient(&patches, &of).iter().all(|g| g.is_finite()));
        }
    }
}
