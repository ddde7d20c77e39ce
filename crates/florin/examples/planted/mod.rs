//! Data with a planted structure, of which the right answer is known: what a fusion must be able to learn, and what it cannot.
//!
//! Shared by the example `fusion_table`, which measures every kind, and by the suite's `planted_fusion`, which holds some of it.

#![allow(dead_code, reason = "each of its users needs a part")]

pub(crate) mod retrieval;
pub(crate) mod training;

use burn::prelude::*;
use florin_fusion::{FusionConfig, LateCombination, LateConfig, Stream};
use florin_nn::Modality;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Modalities of every task, of which some use only two.
pub(crate) const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Series];

/// Width of every modality.
pub(crate) const WIDTH: usize = 6;

/// Width of every fused vector.
pub(crate) const DIM: usize = 16;

/// What is planted; every label is one of two, equally frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The label is the exclusive or of one bit in each of so many modalities; all but one of them say nothing at all.
    ExclusiveOr(usize),
    /// Every modality carries the label in noise of its own, the first one the clearest.
    Redundant,
    /// Rows say of themselves, in the first modality, whether that holds the label; where it does not, it is noise, and the label is
    /// the exclusive or of the other two, which say nothing in the other rows. So many in a hundred rows are of the easy kind.
    Switch(u32),
}

/// Rows drawn from a task.
pub(crate) struct Sample {
    /// `[rows, WIDTH]` of each modality.
    vectors: Vec<Vec<f32>>,
    /// Which of two.
    pub(crate) labels: Vec<i32>,
    /// Whether the first modality holds the label, for a switch.
    pub(crate) easy: Vec<bool>,
}

/// Where a modality carries its bit, how far from the middle: noise has deviation 0.4 for clear bits.
const CLEAR: f64 = 1.6;

/// Deviations by which classes of the redundant task stand apart from the middle: alone they are right in 92, 84 and 76 of 100.
pub(crate) const REDUNDANT: [f64; 3] = [1.4, 1.0, 0.7];

impl Task {
    /// How many modalities it has.
    pub(crate) fn modalities(self) -> usize {
        if let Self::ExclusiveOr(count) = self { count } else { 3 }
    }

    /// Draws rows.
    pub(crate) fn sample(self, rows: usize, random: &mut Draw) -> Sample {
        let mut sample = Sample { vectors: vec![Vec::new(); self.modalities()], labels: Vec::new(), easy: Vec::new() };
        for _ in 0..rows {
            let (label, easy, parts) = self.row(random);
            sample.labels.push(i32::from(label));
            sample.easy.push(easy);
            for (m, (shift, indicator, noise)) in parts.into_iter().enumerate() {
                sample.vectors[m].extend((0..WIDTH).map(|i| {
                    let planted = direction(m, i) * shift + if i == WIDTH - 1 { indicator } else { 0.0 };
                    (planted + noise * random.normal()) as f32
                }));
            }
        }
        sample
    }

    /// Label, whether it is easy, and of each modality shift, indicator and noise.
    fn row(self, random: &mut Draw) -> (bool, bool, Vec<(f64, f64, f64)>) {
        let sign = |bit: bool| if bit { 1.0 } else { -1.0 };
        match self {
            Self::ExclusiveOr(count) => {
                let bits: Vec<bool> = (0..count).map(|_| random.bit()).collect();
                let label = bits.iter().fold(false, |label, &bit| label != bit);
                (label, false, bits.into_iter().map(|bit| (CLEAR * sign(bit), 0.0, 0.4)).collect())
            }
            Self::Redundant => {
                let label = random.bit();
                (label, false, REDUNDANT.iter().map(|shift| (shift * sign(label), 0.0, 1.0)).collect())
            }
            Self::Switch(easy) => {
                let (easy, text, image, series) = (random.below(100) < easy, random.bit(), random.bit(), random.bit());
                let label = if easy { text } else { image != series };
                let first = (CLEAR * sign(text), CLEAR * sign(easy), 0.4);
                (label, easy, vec![first, (CLEAR * sign(image), 0.0, 0.4), (CLEAR * sign(series), 0.0, 0.4)])
            }
        }
    }
}

/// A unit vector for each modality, the last number of which is free for an indicator.
fn direction(modality: usize, index: usize) -> f64 {
    let angle = (1 + modality * 5 + index * 3) as f64;
    let norm: f64 = (0..WIDTH - 1).map(|i| ((1 + modality * 5 + i * 3) as f64).cos().powi(2)).sum();
    if index == WIDTH - 1 { 0.0 } else { angle.cos() / norm.sqrt() }
}

impl Sample {
    /// Rows of all modalities on a device.
    pub(crate) fn streams(&self, device: &Device) -> Vec<Stream> {
        let rows = self.labels.len();
        let stream = |(values, modality): (&Vec<f32>, Modality)| {
            Stream::pooled(modality, Tensor::from_data(TensorData::new(values.clone(), [rows, WIDTH]), device))
        };
        self.vectors.iter().zip(MODALITIES).map(stream).collect()
    }

    /// How often the best modality that a row has is right alone: of equal noise, the side of the middle it is on, which nothing
    /// can better.
    pub(crate) fn best_alone(&self, streams: &[Stream]) -> f64 {
        let right = |row: &usize| {
            let best = (0..streams.len()).find(|&m| streams[m].present[*row]);
            best.is_some_and(|m| {
                let own = &self.vectors[m][row * WIDTH..(row + 1) * WIDTH];
                let side: f64 = own.iter().enumerate().map(|(i, &x)| f64::from(x) * direction(m, i)).sum();
                (side > 0.0) == (self.labels[*row] == 1)
            })
        };
        (0..self.labels.len()).filter(right).count() as f64 / self.labels.len() as f64
    }
}

/// Random numbers that follow from a seed on any machine.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn bit(&mut self) -> bool {
        self.0.random()
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0.random_range(0..limit)
    }

    /// A normal number, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle): (f64, f64) = (self.0.random(), self.0.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// Every kind by name, and late fusion in all its forms, for so many modalities.
pub(crate) fn kinds(modalities: usize) -> Vec<(String, FusionConfig)> {
    let streams = || MODALITIES[..modalities].iter().map(|&modality| (modality, WIDTH)).collect::<Vec<_>>();
    let late = |combination, dim| LateConfig { streams: streams(), dim, hidden: DIM, combination };
    let mut all = Vec::new();
    for kind in FusionConfig::KINDS {
        let usual = FusionConfig::usual(kind, streams(), DIM, 2).expect("a kind of its own list");
        if kind == "late" {
            // A product of experts decides by itself: its vector is the logarithm of two probabilities.
            let product = FusionConfig::Late(late(LateCombination::ProductOfExperts, 2));
            all.push(("late (concatenated)".to_owned(), usual));
            all.push(("late (weighted sum)".to_owned(), FusionConfig::Late(late(LateCombination::WeightedSum, DIM))));
            all.push(("late (product)".to_owned(), product));
        } else {
            all.push((kind.to_owned(), usual));
        }
    }
    all
}

/// Whether a kind can only add what modalities say.
pub(crate) fn is_additive(config: &FusionConfig) -> bool {
    matches!(config, FusionConfig::Late(_))
}
