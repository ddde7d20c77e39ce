//! The contrastive losses against loops over all pairs in f64, whole and in chunks that do not divide the batch.

use burn::prelude::*;
use florin_losses::{ClipLoss, GatheredPairs, NtXentLoss, SigLipLoss, SupervisedContrastLoss};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS};

/// Rows of scores at a time: fewer than the batch of seven, not dividing it, and more than it.
const CHUNKS: [usize; 3] = [1, 3, 512];

/// The inputs of a case, tracked.
struct Given {
    vectors: Vec<Tensor<2>>,
    numbers: Vec<Tensor<1>>,
}

/// From inputs and a chunk to named parts, the loss first.
type Compute<'a> = &'a dyn Fn(&Given, usize, &Fixture) -> Vec<(&'static str, Tensor<1>)>;

/// Opens a case, computes its named parts with every chunk, the loss first, and compares them and all gradients.
fn golden(case: &str, vectors: &[&str], numbers: &[&str], compute: Compute<'_>) {
    let fixture = Fixture::open(case);
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    for chunk in CHUNKS {
        let given = Given {
            vectors: vectors.iter().map(|name| fixture.input::<2>(name, &device).require_grad()).collect(),
            numbers: numbers.iter().map(|name| fixture.input::<1>(name, &device).require_grad()).collect(),
        };
        let parts = compute(&given, chunk, &fixture);
        let mut comparison = Comparison::new(&fixture);
        for (name, part) in &parts {
            comparison.tensor(name, part.clone(), LOSS);
        }
        let graph = parts[0].1.clone().backward();
        for (name, tensor) in vectors.iter().zip(&given.vectors) {
            let gradient = tensor.grad(&graph).expect("vectors are tracked");
            comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
        }
        for (name, tensor) in numbers.iter().zip(&given.numbers) {
            let gradient = tensor.grad(&graph).expect("numbers are tracked");
            comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
        }
        comparison.finish();
    }
}

#[test]
fn golden_clip_loss_and_gradients() {
    golden("clip_loss", &["image", "text"], &["log_scale"], &|given, chunk, _| {
        let [image, text] = [0, 1].map(|index| given.vectors[index].clone());
        let parts = ClipLoss { chunk }.forward(image, text, given.numbers[0].clone());
        vec![("loss", parts.loss), ("image_to_text", parts.image_to_text), ("text_to_image", parts.text_to_image)]
    });
}

#[test]
fn golden_clip_loss_of_two_ranks_is_that_of_the_whole_batch() {
    golden("clip_loss", &["image", "text"], &["log_scale"], &|given, chunk, _| {
        let [image, text] = [0, 1].map(|index| given.vectors[index].clone());
        // Ranks of four and of three pairs: their mean is weighted by size.
        let ranks = [(0, 4), (4, 3)].map(|(first, size)| {
            let all = GatheredPairs { image: image.clone(), text: text.clone(), first };
            let own = |x: &Tensor<2>| x.clone().narrow(0, first, size);
            let parts = ClipLoss { chunk }.forward_gathered(own(&image), own(&text), given.numbers[0].clone(), all);
            let share = size as f64 / 7.0;
            [parts.loss, parts.image_to_text, parts.text_to_image].map(|part| part * share)
        });
        let [one, other] = ranks;
        let names = ["loss", "image_to_text", "text_to_image"];
        names.into_iter().zip(one.into_iter().zip(other).map(|(a, b)| a + b)).collect()
    });
}

#[test]
fn golden_sig_lip_loss_and_gradients() {
    golden("sig_lip_loss", &["image", "text"], &["log_scale", "bias"], &|given, chunk, _| {
        let [image, text] = [0, 1].map(|index| given.vectors[index].clone());
        let [log_scale, bias] = [0, 1].map(|index| given.numbers[index].clone());
        let parts = SigLipLoss { chunk }.forward(image, text, log_scale, bias);
        vec![("loss", parts.loss), ("positive", parts.positive), ("negative", parts.negative)]
    });
}

#[test]
fn golden_nt_xent_loss_and_gradients() {
    golden("nt_xent_loss", &["first", "second"], &[], &|given, chunk, fixture| {
        let [first, second] = [0, 1].map(|index| given.vectors[index].clone());
        let loss = NtXentLoss { temperature: fixture.config("temperature"), chunk };
        vec![("loss", loss.forward(first, second).loss)]
    });
}

#[test]
fn golden_supervised_contrast_loss_and_gradients() {
    golden("supervised_contrast_loss", &["samples"], &[], &|given, chunk, fixture| {
        let loss = SupervisedContrastLoss { temperature: fixture.config("temperature"), chunk };
        let classes: Vec<usize> = fixture.config("classes");
        let parts = loss.forward(given.vectors[0].clone(), &classes);
        assert_eq!(parts.anchors, 5, "two of the seven samples are alone in their class");
        vec![("loss", parts.loss)]
    });
}
