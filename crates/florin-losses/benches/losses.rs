//! Every loss: contrastive ones over 256 pairs of width 128, the span loss over 8 documents of 4 fields and 130 words.

#[path = "../../florin-nn/benches/frame/mod.rs"]
mod frame;

use burn::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use florin_losses::{ClipLoss, NtXentLoss, SigLipLoss, SpanLoss, SpanScores, SupervisedContrastLoss};
use frame::{Cases, random};

const PAIRS: usize = 256;
const DIM: usize = 128;

fn losses(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "losses");
    let pair = |device: &Device| [0, 1].map(|_| random([PAIRS, DIM], device));
    cases.loss("clip", |device| {
        let ([image, text], scale) = (pair(device), number(2.66, device));
        move || ClipLoss::default().forward(image.clone(), text.clone(), scale.clone()).loss
    });
    cases.loss("sig_lip", |device| {
        let ([image, text], scale, bias) = (pair(device), number(2.3, device), number(-10.0, device));
        move || SigLipLoss::default().forward(image.clone(), text.clone(), scale.clone(), bias.clone()).loss
    });
    cases.loss("nt_xent", |device| {
        let [first, second] = pair(device);
        move || NtXentLoss::default().forward(first.clone(), second.clone()).loss
    });
    cases.loss("supervised_contrast", |device| {
        let (samples, classes) = (random([PAIRS, DIM], device), (0..PAIRS).map(|row| row % 16).collect::<Vec<_>>());
        move || SupervisedContrastLoss::default().forward(samples.clone(), &classes).loss
    });
    cases.loss("span", span);
}

/// A learned number; of a scale it is the logarithm.
fn number(value: f32, device: &Device) -> Tensor<1> {
    let number = Tensor::from_floats([value], device);
    if number.is_autodiff() { number.require_grad() } else { number }
}

fn span(device: &Device) -> impl FnMut() -> Tensor<1> + use<> {
    let (batch, fields, words) = (8, 4, 130);
    let [start, inside, end] = [0, 1, 2].map(|_| random([batch, fields, words], device));
    let none = random([batch, fields], device);
    let marks: Vec<bool> = (0..batch * fields * words * words).map(|place| place % (words * words) == 5).collect();
    let gold = Tensor::<4, Bool>::from_data(TensorData::new(marks, [batch, fields, words, words]), device);
    let device = device.clone();
    move || {
        let [start, inside, end] = [&start, &inside, &end].map(Tensor::clone);
        let scores = SpanScores { start, inside, end, none: none.clone() };
        let weight = Tensor::ones([batch, fields], &device);
        SpanLoss { longest: 48 }.forward(scores, &[words; 8], gold.clone(), weight).loss
    }
}

criterion_group!(benches, losses);
criterion_main!(benches);
