//! Losses of predicted words, spans, patches and codes, and the weights of several tasks.

use burn::prelude::*;
use florin_losses::{
    CaptioningLoss, Codebook, MaskedImageLoss, MaskedLanguageLoss, SpanLoss, SpanScores, TaskKind, TaskLosses,
    UncertaintyWeights,
};

use crate::frame::{Cases, random};

/// Texts, their tokens and the vocabulary.
const TEXTS: [usize; 3] = [8, 64, 4_096];

pub(crate) fn add(cases: &mut Cases<'_>) {
    cases.loss("masked_language", |device| {
        // Every seventh token is to be found, as about 15% are.
        let (logits, ids, selected) = (random(TEXTS, device), ids(device), marks(|place| place % 7 == 0, device));
        move || MaskedLanguageLoss::default().forward(logits.clone(), ids.clone(), selected.clone()).loss
    });
    cases.loss("captioning", |device| {
        // The first eight are a prompt.
        let (logits, ids, counts) = (random(TEXTS, device), ids(device), marks(|place| place % TEXTS[1] >= 8, device));
        move || CaptioningLoss::default().forward(logits.clone(), ids.clone(), counts.clone()).loss
    });
    cases.loss("masked_image", |device| {
        let (batch, patches, pixels) = (8, 196, 768);
        let (predicted, pictures) =
            (random([batch, patches, pixels], device), random([batch, patches, pixels], device));
        let hidden: Vec<bool> = (0..batch * patches).map(|place| place % 4 != 0).collect();
        let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [batch, patches]), device);
        move || MaskedImageLoss::default().forward(predicted.clone(), pictures.clone(), hidden.clone()).loss
    });
    cases.loss("codebook", |device| {
        let (rows, dim) = (1_024, 64);
        let (book, x) = (Codebook::new(512, dim, device), random([rows, dim], device));
        let counts = Tensor::<1, Bool>::from_data(TensorData::new(vec![true; rows], [rows]), device);
        move || book.forward(x.clone(), counts.clone()).loss
    });
    cases.loss("span", span);
    cases.loss("uncertainty_weights", |device| {
        let kinds = [TaskKind::Regression, TaskKind::Classification, TaskKind::Regression];
        let (weights, costs) = (UncertaintyWeights::new(&kinds, device), random([256, 3], device));
        let labelled: Vec<bool> = (0..256 * 3).map(|place| place % 5 != 0).collect();
        let labelled = Tensor::<2, Bool>::from_data(TensorData::new(labelled, [256, 3]), device);
        move || weights.forward(TaskLosses::of_samples(costs.clone(), labelled.clone())).loss
    });
}

fn ids(device: &Device) -> Tensor<2, Int> {
    let [batch, seq, vocabulary] = TEXTS;
    let ids: Vec<i32> = (0..batch * seq).map(|place| (place * 7919 % vocabulary) as i32).collect();
    Tensor::from_data(TensorData::new(ids, [batch, seq]), device)
}

fn marks(marked: impl Fn(usize) -> bool, device: &Device) -> Tensor<2, Bool> {
    let [batch, seq, _] = TEXTS;
    let marks: Vec<bool> = (0..batch * seq).map(marked).collect();
    Tensor::from_data(TensorData::new(marks, [batch, seq]), device)
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
