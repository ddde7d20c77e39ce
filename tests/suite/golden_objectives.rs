//! Losses that contrast nothing, against written-out loops in f64 that are held to transformers, torch and torchjd.

use burn::prelude::*;
use florin_losses::{MaskedImageLoss, PatchTarget, patchify};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS};

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

#[test]
fn golden_masked_image_loss_and_gradients() {
    let device = device();
    for (case, target) in [("masked_image_normalised", PatchTarget::Normalised), ("masked_image_raw", PatchTarget::Raw)]
    {
        let fixture = Fixture::open(case);
        let predicted = fixture.input::<3>("predicted", &device).require_grad();
        let patches = patchify(fixture.input::<4>("pictures", &device), fixture.config("patch"));
        let masked = fixture.input_marks::<2>("masked", &device);
        let parts = MaskedImageLoss { target }.forward(predicted.clone(), patches, masked);
        let mut comparison = Comparison::new(&fixture);
        comparison.tensor("loss", parts.loss.clone(), LOSS);
        comparison.tensor("per_picture", parts.per_picture, LOSS);
        let graph = parts.loss.backward();
        comparison.tensor("gradient.predicted", predicted.grad(&graph).expect("tracked"), GRADIENT);
        comparison.finish();
    }
}
