//! Contrastive losses over 256 samples of width 128; of series, 16 of 64 times.

use burn::prelude::*;
use florin_losses::{
    AudioClipLoss, AudioClipScales, AvtsLoss, AvtsPair, CavMaeLoss, ClapLoss, ClipLoss, CmcLoss, CpcLoss, CpcPredictor,
    MemoryBank, ModalityContrastLoss, ModalityVectors, NtXentLoss, SigLipLoss, SupervisedContrastLoss,
};

use crate::frame::{Cases, random};

const PAIRS: usize = 256;
const DIM: usize = 128;
/// Samples in the memory, and how many of them each row is told from.
const MEMORY: [usize; 2] = [4_096, 512];

pub(crate) fn add(cases: &mut Cases<'_>) {
    cases.loss("clip", |device| {
        let ([image, text], scale) = (samples(device), number(2.66, device));
        move || ClipLoss::default().forward(image.clone(), text.clone(), scale.clone()).loss
    });
    cases.loss("sig_lip", |device| {
        let ([image, text], scale, bias) = (samples(device), number(2.3, device), number(-10.0, device));
        move || SigLipLoss::default().forward(image.clone(), text.clone(), scale.clone(), bias.clone()).loss
    });
    cases.loss("nt_xent", |device| {
        let [first, second] = samples(device);
        move || NtXentLoss::default().forward(first.clone(), second.clone()).loss
    });
    cases.loss("supervised_contrast", |device| {
        let ([samples], classes) = (samples(device), (0..PAIRS).map(|row| row % 16).collect::<Vec<_>>());
        move || SupervisedContrastLoss::default().forward(samples.clone(), &classes).loss
    });
    cases.loss("modality_contrast", |device| {
        let modalities = samples::<3>(device).map(ModalityVectors::of_all);
        let scale = number(2.66, device);
        move || ModalityContrastLoss::default().forward(&modalities, scale.clone(), None).loss
    });
    cases.loss("cpc", cpc);
    cases.loss("cmc", cmc);
    sound(cases);
}

/// Losses of sound and picture.
fn sound(cases: &mut Cases<'_>) {
    cases.loss("clap", |device| {
        let ([audio, text], scales) = (samples(device), [2.66, 2.66].map(|value| number(value, device)));
        move || {
            let [of_audio, of_text] = scales.clone();
            ClapLoss::default().forward(audio.clone(), text.clone(), of_audio, of_text).loss
        }
    });
    cases.loss("audio_clip", |device| {
        let [audio, image, text] = samples(device).map(ModalityVectors::of_all);
        let scales = [0, 1, 2].map(|_| number(2.66, device));
        move || {
            let [audio_image, audio_text, image_text] = scales.clone();
            let scales = AudioClipScales { audio_image, audio_text, image_text };
            AudioClipLoss::default().forward(&audio, &image, &text, scales).loss
        }
    });
    cases.loss("avts", |device| {
        let [audio, video] = samples(device);
        let kinds = [AvtsPair::InSync, AvtsPair::Easy, AvtsPair::InSync, AvtsPair::Hard];
        let pairs: Vec<AvtsPair> = (0..PAIRS).map(|row| kinds[row % kinds.len()]).collect();
        move || AvtsLoss::default().forward(audio.clone(), video.clone(), &pairs, None).loss
    });
    cases.loss("cav_mae", |device| {
        let ([audio, video], errors) = (samples(device), [1.0, 1.0].map(|value| number(value, device)));
        move || {
            let [of_audio, of_video] = errors.clone();
            CavMaeLoss::default().forward(audio.clone(), video.clone(), of_audio, of_video).loss
        }
    });
}

fn cpc(device: &Device) -> impl FnMut() -> Tensor<1> + use<> {
    let (batch, time, context_dim, steps) = (16, 64, 64, 4);
    let predictor = CpcPredictor::new(context_dim, DIM, steps, device);
    let (encoded, context) = (random([batch, time, DIM], device), random([batch, time, context_dim], device));
    move || CpcLoss::default().forward(&predictor, encoded.clone(), context.clone(), &[64; 16]).loss
}

/// The memory moves with every call, as in training.
fn cmc(device: &Device) -> impl FnMut() -> Tensor<1> + use<> {
    let [first, second] = samples(device);
    let [samples, drawn] = MEMORY;
    let mut bank = MemoryBank::new(2, samples, DIM, device);
    let negatives = bank.draw_negatives(PAIRS, drawn);
    let places: Vec<usize> = (0..PAIRS).collect();
    move || {
        let views = [first.clone(), second.clone()];
        CmcLoss::default().forward(&views, &mut bank, &places, negatives.clone()).loss
    }
}

fn samples<const N: usize>(device: &Device) -> [Tensor<2>; N] {
    std::array::from_fn(|_| random([PAIRS, DIM], device))
}

/// A learned number; of a scale it is the logarithm.
fn number(value: f32, device: &Device) -> Tensor<1> {
    let number = Tensor::from_floats([value], device);
    if number.is_autodiff() { number.require_grad() } else { number }
}
