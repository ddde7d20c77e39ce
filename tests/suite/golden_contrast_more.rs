//! Contrastive losses of several modalities against loops in f64, whole and in chunks, with absent modalities and repeats.

use std::collections::BTreeMap;

use burn::prelude::*;
use florin_losses::{
    AudioClipLoss, AudioClipScales, AvtsLoss, AvtsPair, CavMaeDirections, CavMaeLoss, ClapLoss, ModalityContrastLoss,
    ModalityVectors,
};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS};

/// Rows of scores at a time: fewer than the batch of seven, not dividing it, and more than it.
const CHUNKS: [usize; 3] = [1, 3, 512];

/// The tracked inputs of a case by name.
struct Given {
    vectors: BTreeMap<&'static str, Tensor<2>>,
    numbers: BTreeMap<&'static str, Tensor<1>>,
}

impl Given {
    fn vectors(&self, name: &str) -> Tensor<2> {
        self.vectors[name].clone()
    }

    fn number(&self, name: &str) -> Tensor<1> {
        self.numbers[name].clone()
    }
}

/// From inputs and a chunk to named parts.
type Compute<'a> = &'a dyn Fn(&Given, usize, &Fixture) -> Vec<(String, Tensor<1>)>;

/// Opens a case, computes its named parts with every chunk, and compares them and all gradients of `loss`.
fn golden(case: &str, vectors: &[&'static str], numbers: &[&'static str], compute: Compute<'_>) {
    let fixture = Fixture::open(case);
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    for chunk in CHUNKS {
        let given = Given {
            vectors: vectors.iter().map(|name| (*name, fixture.input(name, &device).require_grad())).collect(),
            numbers: numbers.iter().map(|name| (*name, fixture.input(name, &device).require_grad())).collect(),
        };
        let mut comparison = Comparison::new(&fixture);
        let mut graph = None;
        for (name, part) in compute(&given, chunk, &fixture) {
            comparison.tensor(&name, part.clone(), LOSS);
            if name == "loss" {
                graph = Some(part.backward());
            }
        }
        let graph = graph.expect("every case has a loss");
        for (name, tensor) in &given.vectors {
            let gradient = tensor.grad(&graph).expect("vectors are tracked");
            comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
        }
        for (name, tensor) in &given.numbers {
            let gradient = tensor.grad(&graph).expect("numbers are tracked");
            comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
        }
        comparison.finish();
    }
}

/// Parts under their names in the fixture.
fn named<const N: usize>(parts: [(&str, Tensor<1>); N]) -> Vec<(String, Tensor<1>)> {
    parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect()
}

#[test]
fn golden_modality_contrast_loss_and_gradients() {
    let names = ["modality.0", "modality.1", "modality.2"];
    golden("modality_contrast_loss", &names, &["log_scale"], &|given, chunk, fixture| {
        let present: Vec<Vec<bool>> = fixture.config("present");
        let side = |(name, present): (&&str, Vec<bool>)| {
            // What stands where a modality is absent does not matter, were it not even a number.
            let absent: Vec<bool> = present.iter().map(|present| !present).collect();
            let vectors = given.vectors(name);
            let absent = Tensor::<2, Bool>::from_data(TensorData::new(absent, [7, 1]), &vectors.device());
            let vectors = vectors.mask_fill(absent.expand([7, 5]), f32::NAN);
            ModalityVectors::of_all(vectors).present_in(present)
        };
        let sides: Vec<ModalityVectors> = names.iter().zip(present).map(side).collect();
        let loss = ModalityContrastLoss { within: fixture.config("within"), chunk };
        let entities: Vec<usize> = fixture.config("entities");
        let parts = loss.forward(&sides, given.number("log_scale"), Some(&entities));
        let mut found = named([("loss", parts.loss)]);
        found.extend(parts.pairs.into_iter().map(|pair| (format!("pair.{}.{}", pair.from, pair.to), pair.loss)));
        found.extend(parts.gaps.into_iter().map(|gap| (format!("gap.{}.{}", gap.one, gap.other), gap.distance)));
        found
    });
}

#[test]
fn golden_clap_loss_and_gradients() {
    golden("clap_loss", &["audio", "text"], &["log_scale_audio", "log_scale_text"], &|given, chunk, _| {
        let (audio, text) = (given.vectors("audio"), given.vectors("text"));
        let scales = ["log_scale_audio", "log_scale_text"].map(|name| given.number(name));
        let [of_audio, of_text] = scales;
        let parts = ClapLoss { chunk }.forward(audio, text, of_audio, of_text);
        named([("loss", parts.loss), ("audio_to_text", parts.audio_to_text), ("text_to_audio", parts.text_to_audio)])
    });
}

#[test]
fn golden_audio_clip_loss_and_gradients() {
    let scales = ["log_scale.audio_image", "log_scale.audio_text", "log_scale.image_text"];
    golden("audio_clip_loss", &["audio", "image", "text"], &scales, &|given, chunk, fixture| {
        let present: Vec<Vec<bool>> = fixture.config("present");
        let side =
            |name: &str, index: usize| ModalityVectors::of_all(given.vectors(name)).present_in(present[index].clone());
        let [audio_image, audio_text, image_text] = scales.map(|name| given.number(name));
        let log_scales = AudioClipScales { audio_image, audio_text, image_text };
        let parts = AudioClipLoss { chunk }.forward(&side("audio", 0), &side("image", 1), &side("text", 2), log_scales);
        let pairs = [("audio_image", parts.audio_image), ("audio_text", parts.audio_text)];
        let mut found = named([("loss", parts.loss), ("image_text", parts.image_text)]);
        found.extend(named(pairs));
        found
    });
}

#[test]
fn golden_cav_mae_loss_and_gradients() {
    let numbers = ["audio_reconstruction", "video_reconstruction"];
    for case in ["cav_mae_loss", "cav_mae_both_loss"] {
        golden(case, &["audio", "video"], &numbers, &|given, chunk, fixture| {
            let directions =
                if fixture.config("both") { CavMaeDirections::Both } else { CavMaeDirections::VideoToAudio };
            let loss = CavMaeLoss { directions, chunk, ..CavMaeLoss::default() };
            let [of_audio, of_video] = numbers.map(|name| given.number(name));
            let parts = loss.forward(given.vectors("audio"), given.vectors("video"), of_audio, of_video);
            named([
                ("loss", parts.loss),
                ("contrast", parts.contrast),
                ("reconstruction", parts.reconstruction),
                ("accuracy", parts.accuracy),
            ])
        });
    }
}

#[test]
fn golden_avts_loss_and_gradients() {
    for case in ["avts_loss", "avts_mixed_loss"] {
        golden(case, &["audio", "video"], &[], &|given, _, fixture| {
            let kinds: Vec<String> = fixture.config("pairs");
            let kind = |name: &String| match name.as_str() {
                "sync" => AvtsPair::InSync,
                "easy" => AvtsPair::Easy,
                _ => AvtsPair::Hard,
            };
            let pairs: Vec<AvtsPair> = kinds.iter().map(kind).collect();
            let loss = AvtsLoss { margin: fixture.config("margin") };
            let share = fixture.config("hard_share");
            let parts = loss.forward(given.vectors("audio"), given.vectors("video"), &pairs, share);
            named([("loss", parts.loss), ("in_sync", parts.in_sync), ("easy", parts.easy), ("hard", parts.hard)])
        });
    }
}
