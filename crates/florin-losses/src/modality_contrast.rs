//! Modality contrast: a sample's modalities find each other among all other samples, of the other modality and of their own.
//!
//! For anchor i in modality a with partner in modality b, s = exp(log scale):
//! `ℓᵢ^{a→b} = −log (exp(s·ẑᵢᵃ·ẑᵢᵇ) / (Σⱼ exp(s·ẑᵢᵃ·ẑⱼᵇ) + λ Σ_{j≠i} exp(s·ẑᵢᵃ·ẑⱼᵃ)))`,
//! the mean over all anchors and ordered pairs (a, b) whose two sides are present.
//!
//! λ = 0 is CLIP's loss, λ = 1 is NT-Xent with two modalities as the views. A sample's other modalities are never negatives, nor are
//! other rows of the same entity (same company and day, same receipt): they do not compete at all.
//!
//! Paper: Zolfaghari et al. 2021 (CrossCLR), <https://arxiv.org/abs/2109.14910>
//! Difference: related to it, not taken from it: there are no weights by proximity and no pruning of influential samples, and any
//! number of modalities.

use std::collections::HashMap;
use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets};

use crate::contrast::Similarities;
use crate::error::{LossError, check};
use crate::modality_vectors::ModalityVectors;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct ModalityContrastLoss {
    /// λ: how much a negative of the anchor's own modality counts, from 0.
    pub within: f64,
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct ModalityContrastLossParts {
    /// Mean over all anchors of all ordered pairs, `[1]`; zero where no row has two modalities.
    pub loss: Tensor<1>,
    /// Every ordered pair, by the first and then by the second.
    pub pairs: Vec<OrderedPair>,
    /// Every unordered pair, likewise.
    pub gaps: Vec<ModalityGap>,
}

/// Anchors of one modality that look for their partners in another.
#[derive(Clone, Debug)]
pub struct OrderedPair {
    /// Place of the anchors' modality.
    pub from: usize,
    /// Place of the partners'.
    pub to: usize,
    /// Rows that have both.
    pub anchors: usize,
    /// Mean over those, `[1]`; zero where there is none.
    pub loss: Tensor<1>,
}

/// How far two modalities lie apart as a whole, which a contrastive loss leaves as it started when its scale is large.
#[derive(Clone, Debug)]
pub struct ModalityGap {
    /// Place of one.
    pub one: usize,
    /// Place of the other.
    pub other: usize,
    /// Distance between the means of their normalised vectors, `[1]`, without gradient; an absent modality's mean is zero.
    pub distance: Tensor<1>,
}

impl Default for ModalityContrastLoss {
    fn default() -> Self {
        Self { within: 1.0, chunk: 512 }
    }
}

impl ModalityContrastLoss {
    /// Refuses what is no weight.
    pub fn validate(&self) -> Result<(), LossError> {
        check("within", self.within, "at least 0", |within| within >= 0.0)
    }

    /// # Shapes
    ///
    /// - modalities: two or more of `[batch, dim]`; row i of all is one sample
    /// - log_scale: `[1]`, see [`LogitScale`](crate::LogitScale)
    /// - entities: what each row is about, where several rows may be about the same
    ///
    /// # Panics
    ///
    /// If there are fewer than two modalities, or batches, widths or the number of entities differ.
    pub fn forward(
        &self,
        modalities: &[ModalityVectors],
        log_scale: Tensor<1>,
        entities: Option<&[usize]>,
    ) -> ModalityContrastLossParts {
        assert!(modalities.len() > 1, "two modalities are needed, found {}", modalities.len());
        let [batch, dim] = modalities[0].vectors.dims();
        for modality in modalities {
            assert_eq!(modality.vectors.dims(), [batch, dim], "modalities must have the same samples and width");
            assert_eq!(modality.present.len(), batch, "one mark a row is needed");
        }
        let sides: Vec<Side> = modalities.iter().map(Side::new).collect();
        let entities = Entities::new(batch, entities);
        let scale = log_scale.exp();
        let mut total = scale.clone().zeros_like();
        let mut pairs = Vec::new();
        for (from, one) in modalities.iter().enumerate() {
            for (to, other) in modalities.iter().enumerate().filter(|(to, _)| *to != from) {
                let shared = one.shared(other);
                let sum = self.direction(&sides[from], &sides[to], &scale, &shared, &entities);
                total = total + sum.clone();
                pairs.push(OrderedPair { from, to, anchors: shared.len(), loss: sum / shared.len().max(1) as f64 });
            }
        }
        let anchors: usize = pairs.iter().map(|pair| pair.anchors).sum();
        ModalityContrastLossParts { loss: total / anchors.max(1) as f64, pairs, gaps: gaps(&sides) }
    }

    /// The sum over the anchors of an ordered pair, `[1]`.
    fn direction(&self, from: &Side, to: &Side, scale: &Tensor<1>, shared: &[usize], entities: &Entities) -> Tensor<1> {
        let [batch, _] = from.vectors.dims();
        let within = self.within > 0.0;
        let keys =
            if within { Tensor::cat(vec![to.vectors.clone(), from.vectors.clone()], 0) } else { to.vectors.clone() };
        let mut anchored = vec![false; batch];
        shared.iter().for_each(|&row| anchored[row] = true);
        let targets = |rows: Range<usize>| RowTargets {
            targets: KeyLists::new(rows.clone().map(|row| anchored[row].then_some(row))),
            hidden: KeyLists::new(rows.map(|row| {
                // A repeat would be a false negative; the partner itself is the positive, the anchor itself is no candidate.
                let repeats = entities.members(row).iter().copied().filter(move |&other| other != row);
                let own = if within { entities.members(row) } else { &[] };
                repeats.chain(own.iter().map(move |&other| batch + other))
            })),
            log_counts: self.log_counts(from, to),
        };
        Similarities::new(from.vectors.clone(), keys, scale.clone(), self.chunk).cross_entropy(&targets)
    }

    /// The logarithm of how often each key counts, never where it is absent; none where all count once.
    fn log_counts(&self, from: &Side, to: &Side) -> Option<Vec<f32>> {
        let count = |times: f64| move |&present: &bool| if present { times.ln() as f32 } else { f32::NEG_INFINITY };
        let own = if self.within > 0.0 { &*from.present } else { &[] };
        let counts: Vec<f32> = to.present.iter().map(count(1.0)).chain(own.iter().map(count(self.within))).collect();
        counts.iter().any(|&count| count != 0.0).then_some(counts)
    }
}

/// A modality made ready: vectors of length one, and who has it.
struct Side {
    vectors: Tensor<2>,
    present: Vec<bool>,
    count: usize,
}

impl Side {
    fn new(modality: &ModalityVectors) -> Self {
        Self { vectors: modality.normalised(), present: modality.present.clone(), count: modality.count() }
    }

    /// Mean of the vectors of the rows that have it, `[1, dim]`.
    fn centroid(&self) -> Tensor<2> {
        self.vectors.clone().detach().sum_dim(0) / self.count.max(1) as f64
    }
}

fn gaps(sides: &[Side]) -> Vec<ModalityGap> {
    let pairs = (0..sides.len()).flat_map(|one| (one + 1..sides.len()).map(move |other| (one, other)));
    let distance = |one: usize, other: usize| (sides[one].centroid() - sides[other].centroid()).square().sum().sqrt();
    pairs.map(|(one, other)| ModalityGap { one, other, distance: distance(one, other) }).collect()
}

/// Which rows are about the same.
struct Entities {
    /// Of each row its entity's place in `members`.
    numbers: Vec<usize>,
    /// The rows of each entity.
    members: Vec<Vec<usize>>,
}

impl Entities {
    /// Without entities every row is its own.
    fn new(batch: usize, entities: Option<&[usize]>) -> Self {
        let mut seen = HashMap::new();
        let mut found = Self { numbers: Vec::new(), members: Vec::new() };
        let entities = match entities {
            Some(entities) => entities.to_vec(),
            None => (0..batch).collect(),
        };
        assert_eq!(entities.len(), batch, "one entity a row is needed");
        for (row, entity) in entities.into_iter().enumerate() {
            let number = *seen.entry(entity).or_insert(found.members.len());
            if number == found.members.len() {
                found.members.push(Vec::new());
            }
            found.members[number].push(row);
            found.numbers.push(number);
        }
        found
    }

    /// The rows about the same as this one, itself among them.
    fn members(&self, row: usize) -> &[usize] {
        &self.members[self.numbers[row]]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::{ClipLoss, NtXentLoss};

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn number(x: Tensor<1>) -> f32 {
        x.into_scalar::<f32>()
    }

    fn vectors(device: &Device) -> [Tensor<2>; 3] {
        [0, 1, 2].map(|_| Tensor::random([6, 4], Distribution::Normal(0.0, 1.0), device).require_grad())
    }

    fn scale(temperature: f64, device: &Device) -> Tensor<1> {
        Tensor::from_floats([(1.0 / temperature).ln() as f32], device)
    }

    /// Both losses' values and gradients of two modalities.
    fn assert_same(one: Tensor<1>, other: Tensor<1>, inputs: &[Tensor<2>]) {
        assert!((number(one.clone()) - number(other.clone())).abs() < 1e-5);
        let (one, other) = (one.backward(), other.backward());
        for input in inputs {
            let [one, other] = [&one, &other].map(|graph| input.grad(graph).expect("tracked"));
            assert!(number(other.clone().abs().sum()) > 1e-2, "a gradient of zero would prove nothing");
            assert!(number((one - other).abs().max()) < 1e-6);
        }
    }

    #[test]
    fn without_negatives_of_its_own_modality_it_is_clip() {
        let device = device();
        florin_backend::seed(&device, 21);
        let [one, other, _] = vectors(&device);
        let sides = [one.clone(), other.clone()].map(ModalityVectors::of_all);
        let own = ModalityContrastLoss { within: 0.0, chunk: 4 }.forward(&sides, scale(0.2, &device), None);
        let clip = ClipLoss::default().forward(one.clone(), other.clone(), scale(0.2, &device));
        assert!((number(own.pairs[0].loss.clone()) - number(clip.image_to_text)).abs() < 1e-5);
        assert_same(own.loss, clip.loss, &[one, other]);
    }

    #[test]
    fn with_all_negatives_of_its_own_modality_it_is_nt_xent() {
        let device = device();
        florin_backend::seed(&device, 22);
        let [one, other, _] = vectors(&device);
        let sides = [one.clone(), other.clone()].map(ModalityVectors::of_all);
        let own = ModalityContrastLoss { within: 1.0, chunk: 4 }.forward(&sides, scale(0.3, &device), None);
        let nt_xent = NtXentLoss { temperature: 0.3, chunk: 512 }.forward(one.clone(), other.clone());
        assert_same(own.loss, nt_xent.loss, &[one, other]);
    }

    #[test]
    fn an_absent_modality_is_as_if_it_were_not_there_whatever_stands_in_its_place() {
        let device = device();
        florin_backend::seed(&device, 23);
        let [one, other, third] = vectors(&device);
        let loss = ModalityContrastLoss::default();
        let two = loss.forward(&[one.clone(), other.clone()].map(ModalityVectors::of_all), scale(0.2, &device), None);
        let nothing = ModalityVectors::of_all(third * f32::NAN).present_in(vec![false; 6]);
        let sides = [ModalityVectors::of_all(one.clone()), ModalityVectors::of_all(other.clone()), nothing];
        let three = loss.forward(&sides, scale(0.2, &device), None);
        assert_eq!(three.pairs.iter().map(|pair| pair.anchors).collect::<Vec<_>>(), [6, 0, 6, 0, 0, 0]);
        assert_same(three.loss, two.loss, &[one, other]);
    }

    #[test]
    fn a_repeat_neither_helps_nor_hurts() {
        let device = device();
        florin_backend::seed(&device, 24);
        let [one, other, _] = vectors(&device);
        let twice = |x: &Tensor<2>| ModalityVectors::of_all(Tensor::cat(vec![x.clone(), x.clone().narrow(0, 0, 1)], 0));
        let sides = [twice(&one), twice(&other)];
        let loss = ModalityContrastLoss::default();
        let masked = loss.forward(&sides, scale(0.1, &device), Some(&[0, 1, 2, 3, 4, 5, 0])).loss;
        let counted = loss.forward(&sides, scale(0.1, &device), None).loss;
        assert!(number(counted) - number(masked) > 0.05, "a copy that competes makes the choice harder");
    }

    #[test]
    fn a_batch_in_which_no_row_has_two_modalities_costs_nothing() {
        let device = device();
        florin_backend::seed(&device, 25);
        let [one, other, _] = vectors(&device);
        let first = ModalityVectors::of_all(one.clone()).present_in(vec![true, true, true, false, false, false]);
        let last = ModalityVectors::of_all(other).present_in(vec![false, false, false, true, true, true]);
        let loss = ModalityContrastLoss::default().forward(&[first, last], scale(0.1, &device), None).loss;
        assert_eq!(number(loss.clone()), 0.0);
        assert_eq!(number(one.grad(&loss.backward()).expect("tracked").abs().sum()), 0.0);
    }

    #[test]
    fn the_gap_is_the_distance_of_the_means() {
        let device = device();
        let one = Tensor::<2>::from_floats([[2.0, 0.0], [0.0, 3.0]], &device);
        let other = Tensor::<2>::from_floats([[-1.0, 0.0], [0.0, -5.0]], &device);
        let sides = [one, other].map(ModalityVectors::of_all);
        let parts = ModalityContrastLoss::default().forward(&sides, scale(0.1, &device), None);
        assert!((number(parts.gaps[0].distance.clone()) - 2f32.sqrt()).abs() < 1e-6);
        assert!(ModalityContrastLoss { within: -0.1, chunk: 1 }.validate().is_err());
        assert!(ModalityContrastLoss { within: f64::NAN, chunk: 1 }.validate().is_err());
    }
}
