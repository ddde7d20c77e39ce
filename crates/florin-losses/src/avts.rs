//! Audio-visual synchronisation: sound and picture of one moment lie close, of other clips or other moments at least a margin apart.
//!
//! `ℓ = d²` for a pair in time, `max(η − d, 0)²` for one that is not, d the distance of the two vectors; the mean over all pairs.
//!
//! Wrong pairs are easy (sound of another clip) or hard (of the same clip, shifted). Training starts with the easy ones and mixes in
//! hard ones later, see [`AvtsCurriculum`].
//!
//! Paper: Korbar et al. 2018 (AVTS), <https://arxiv.org/abs/1807.00230>
//! Difference: where a share of hard pairs is asked for, easy and hard ones are weighed to it, whatever numbers of both a batch has.
//! The paper draws batches instead: leave the share out for that.

use burn::prelude::*;

use crate::error::{LossError, check};
use florin_backend::with_gradient;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct AvtsLoss {
    /// η: how far apart wrong pairs should be; beyond it they cost nothing.
    pub margin: f64,
}

/// What a row is a pair of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvtsPair {
    /// Sound and picture of one moment.
    InSync,
    /// Sound of another clip.
    Easy,
    /// Sound of the same clip at another moment.
    Hard,
}

/// How the share of hard pairs among wrong ones grows over training.
#[derive(Clone, Copy, Debug)]
pub struct AvtsCurriculum {
    /// Up to this share of training all wrong pairs are easy.
    pub easy_until: f64,
    /// From this share of training on the mix is complete; between the two it grows evenly.
    pub mixed_from: f64,
    /// Hard pairs among the wrong ones in the end.
    pub hard_share: f64,
}

/// The loss and the mean cost of each kind, `[1]` each.
#[derive(Clone, Debug)]
pub struct AvtsLossParts {
    /// Mean over all pairs.
    pub loss: Tensor<1>,
    /// Of pairs in time, without gradient; zero where there is none.
    pub in_sync: Tensor<1>,
    /// Of easy wrong pairs, without gradient; zero where there is none.
    pub easy: Tensor<1>,
    /// Of hard wrong pairs, without gradient; zero where there is none.
    pub hard: Tensor<1>,
}

impl Default for AvtsLoss {
    /// A margin of 1, for vectors of length about one.
    fn default() -> Self {
        Self { margin: 1.0 }
    }
}

impl AvtsCurriculum {
    /// Refuses shares outside 0 to 1 and an end before the start.
    pub fn validate(&self) -> Result<(), LossError> {
        let from = self.easy_until;
        check("easy_until", from, "from 0 to 1", |share| (0.0..=1.0).contains(&share))?;
        check("mixed_from", self.mixed_from, "from easy_until to 1", |share| (from..=1.0).contains(&share))?;
        check("hard_share", self.hard_share, "from 0 to 1", |share| (0.0..=1.0).contains(&share))
    }

    /// Share of hard pairs among wrong ones after that share of training.
    pub fn hard_share_at(&self, progress: f64) -> f64 {
        if progress < self.easy_until {
            return 0.0;
        }
        if progress >= self.mixed_from {
            return self.hard_share;
        }
        self.hard_share * (progress - self.easy_until) / (self.mixed_from - self.easy_until)
    }
}

impl AvtsLoss {
    /// Refuses a margin that nothing could keep.
    pub fn validate(&self) -> Result<(), LossError> {
        check("margin", self.margin, "above 0", |margin| margin > 0.0)
    }

    /// # Shapes
    ///
    /// - audio, video: `[batch, dim]`; they are compared as they are
    /// - pairs: what each row is
    /// - hard_share: how much hard pairs count among wrong ones; as many as the batch has unless given
    ///
    /// # Panics
    ///
    /// If sizes differ.
    pub fn forward(
        &self,
        audio: Tensor<2>,
        video: Tensor<2>,
        pairs: &[AvtsPair],
        hard_share: Option<f64>,
    ) -> AvtsLossParts {
        assert_eq!(audio.dims(), video.dims(), "sounds and pictures must be pairs");
        assert_eq!(audio.dims()[0], pairs.len(), "every row must be said what it is");
        let difference = audio - video;
        let away = difference.clone().detach();
        // Its root's gradient would be infinite for two equal vectors; below, what is divided by it is no longer than it.
        let distance = away.clone().square().sum_dim(1).sqrt(); // [batch, 1]
        let short = (distance.clone() - self.margin).neg().clamp_min(0.0);
        let [in_sync, easy, hard] =
            [AvtsPair::InSync, AvtsPair::Easy, AvtsPair::Hard].map(|kind| marks(pairs, kind, &away));
        let cost = distance.clone().square() * in_sync.clone() + short.clone().square() * (in_sync.clone().neg() + 1.0);
        let pull = in_sync.clone() * 2.0;
        let push = short * -2.0 * (in_sync.clone().neg() + 1.0) / distance.clamp_min(1e-12);
        let weights = weights(pairs, hard_share, &away);
        let gradient = away * (pull + push) * weights.clone();
        let loss = with_gradient((cost.clone() * weights).sum(), difference, gradient);
        let mean = |kind: Tensor<2>| (cost.clone() * kind.clone()).sum() / kind.sum().clamp_min(1.0);
        AvtsLossParts { loss, in_sync: mean(in_sync), easy: mean(easy), hard: mean(hard) }
    }
}

/// One for the rows of a kind, `[batch, 1]`.
fn marks(pairs: &[AvtsPair], kind: AvtsPair, like: &Tensor<2>) -> Tensor<2> {
    column(pairs.iter().map(|&pair| f64::from(pair == kind)).collect(), like)
}

/// How much each row counts, `[batch, 1]`, adding up to one.
fn weights(pairs: &[AvtsPair], hard_share: Option<f64>, like: &Tensor<2>) -> Tensor<2> {
    let count = |kind: AvtsPair| pairs.iter().filter(|&&pair| pair == kind).count() as f64;
    let (easy, hard) = (count(AvtsPair::Easy), count(AvtsPair::Hard));
    let wrong = easy + hard;
    // A kind that the batch lacks leaves its share to the other.
    let share = if hard == 0.0 {
        0.0
    } else if easy == 0.0 {
        1.0
    } else {
        hard_share.unwrap_or(hard / wrong)
    };
    let of = |pair: &AvtsPair| match pair {
        AvtsPair::InSync => 1.0,
        AvtsPair::Easy => (1.0 - share) * wrong / easy,
        AvtsPair::Hard => share * wrong / hard,
    };
    column(pairs.iter().map(|pair| of(pair) / pairs.len() as f64).collect(), like)
}

fn column(values: Vec<f64>, like: &Tensor<2>) -> Tensor<2> {
    let rows = values.len();
    Tensor::<2>::from_data(TensorData::new(values, [rows, 1]), (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn equal_vectors_of_a_wrong_pair_cost_the_margin_and_have_a_finite_gradient() {
        let device = device();
        let audio = Tensor::<2>::from_floats([[1.0, 2.0], [0.0, 0.0]], &device).require_grad();
        let loss = AvtsLoss { margin: 3.0 };
        let parts = loss.forward(audio.clone(), audio.clone().detach(), &[AvtsPair::Hard, AvtsPair::InSync], None);
        assert_eq!(values(parts.loss.clone()), [4.5]);
        assert_eq!(values(audio.grad(&parts.loss.backward()).expect("tracked")), [0.0; 4]);
        // Nearly equal ones are pushed apart by no more than twice the margin.
        let near = audio.clone().detach() + 1e-7;
        let loss = loss.forward(audio.clone(), near, &[AvtsPair::Hard, AvtsPair::InSync], None).loss;
        let gradient = values(audio.grad(&loss.backward()).expect("tracked"));
        assert!(gradient.iter().all(|g| g.abs() <= 3.0), "{gradient:?}");
    }

    #[test]
    fn a_wrong_pair_beyond_the_margin_costs_nothing() {
        let device = device();
        let audio = Tensor::<2>::from_floats([[0.0, 0.0], [0.0, 0.0]], &device).require_grad();
        let video = Tensor::<2>::from_floats([[3.0, 4.0], [0.6, 0.8]], &device);
        let parts = AvtsLoss { margin: 2.0 }.forward(audio.clone(), video, &[AvtsPair::Easy, AvtsPair::Hard], None);
        let [loss, easy, hard] = [&parts.loss, &parts.easy, &parts.hard].map(|part| values(part.clone())[0]);
        assert!(easy == 0.0 && (hard - 1.0).abs() < 1e-6 && (loss - 0.5).abs() < 1e-6);
        let gradient = values(audio.grad(&parts.loss.backward()).expect("tracked"));
        assert!(gradient[..2] == [0.0, 0.0] && gradient[2] > 0.1, "{gradient:?}");
    }

    #[test]
    fn the_share_of_hard_pairs_decides_how_much_each_kind_counts() {
        let device = device();
        let audio = Tensor::<2>::zeros([3, 1], &device);
        let video = Tensor::<2>::from_floats([[0.5], [0.2], [0.1]], &device);
        let pairs = [AvtsPair::Easy, AvtsPair::Easy, AvtsPair::Hard];
        let loss = |share| values(AvtsLoss::default().forward(audio.clone(), video.clone(), &pairs, share).loss)[0];
        let (easy, hard) = ((0.25 + 0.64) / 2.0, 0.81);
        for (share, expected) in [(None, (2.0 * easy + hard) / 3.0), (Some(0.0), easy), (Some(1.0), hard)] {
            assert!((loss(share) - expected).abs() < 1e-6, "{share:?}");
        }
    }

    #[test]
    fn hard_pairs_come_in_evenly() {
        let curriculum = AvtsCurriculum { easy_until: 0.5, mixed_from: 0.9, hard_share: 0.75 };
        assert!(curriculum.validate().is_ok());
        let shares = [0.0, 0.49, 0.7, 0.9, 1.0].map(|progress| curriculum.hard_share_at(progress));
        assert!(shares.iter().zip([0.0, 0.0, 0.375, 0.75, 0.75]).all(|(found, wanted)| (found - wanted).abs() < 1e-9));
        assert!(AvtsCurriculum { mixed_from: 0.4, ..curriculum }.validate().is_err());
        assert!(AvtsLoss { margin: 0.0 }.validate().is_err());
    }
}
