//! Contrastive multiview coding: each view of a sample is told from noise by another view, against a memory of all samples.
//!
//! The anchor of view a scores the memory of view b at the sample's own place and at m uniform ones. With `P = exp(â·m̂ / τ) / Z`
//! and n samples in the bank, noise-contrastive estimation asks of each whether it is the sample's:
//! `ℓ^{a→b} = −log (P₀ / (P₀ + m/n)) − Σⱼ log ((m/n) / (Pⱼ + m/n))`; the loss is the sum over all ordered pairs of views.
//!
//! Z makes P a probability: n times the mean of exp(score) over a batch, from then on a moving average. The memory carries no
//! gradient and is updated after scoring, or every sample would find itself.
//!
//! Paper: Tian et al. 2019 (CMC), <https://arxiv.org/abs/1906.05849>
//! Difference: Z follows a moving average of 0.99, as issue 23 of the released code advises, which keeps the first batch's for ever. A
//! probability is never formed: the posterior is a sigmoid of the score less log Z and log m/n, so that no exponential overflows.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use florin_backend::{unit_rows, with_gradient};

use crate::contrast::chunks;
use crate::error::{LossError, check};
use crate::memory_bank::MemoryBank;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct CmcLoss {
    /// Divides similarities: 0.07.
    pub temperature: f64,
    /// How much of the old Z stays at each batch: 0.99.
    pub normaliser_momentum: f64,
    /// Anchors whose vectors from the memory exist at a time, `[chunk, 1 + negatives, dim]`.
    pub chunk: usize,
}

/// The loss and its ordered pairs of views.
#[derive(Clone, Debug)]
pub struct CmcLossParts {
    /// Sum over all ordered pairs, `[1]`.
    pub loss: Tensor<1>,
    /// By the first and then by the second view.
    pub pairs: Vec<CmcPair>,
}

/// One view's anchors against another's memory.
#[derive(Clone, Debug)]
pub struct CmcPair {
    /// The anchors' view.
    pub from: usize,
    /// The memory's.
    pub to: usize,
    /// Of the samples' own places, `[1]`, without gradient.
    pub positive: Tensor<1>,
    /// Of the drawn places, `[1]`, without gradient.
    pub negative: Tensor<1>,
}

impl Default for CmcLoss {
    fn default() -> Self {
        Self { temperature: 0.07, normaliser_momentum: 0.99, chunk: 32 }
    }
}

impl CmcLoss {
    /// Refuses what would divide by zero or never follow.
    pub fn validate(&self) -> Result<(), LossError> {
        check("temperature", self.temperature, "above 0", |temperature| temperature > 0.0)?;
        check("normaliser_momentum", self.normaliser_momentum, "from 0 up to 1", |m| (0.0..1.0).contains(&m))
    }

    /// Scores, then updates the bank.
    ///
    /// # Shapes
    ///
    /// - views: one `[batch, dim]` for each of the bank's; they are normalised here
    /// - places: which of the bank's samples each row is
    /// - negatives: `[batch, drawn]`, places in the bank; see [`MemoryBank::draw_negatives`]
    ///
    /// # Panics
    ///
    /// If there are not as many views as the bank has, or sizes differ.
    pub fn forward(
        &self,
        views: &[Tensor<2>],
        bank: &mut MemoryBank,
        places: &[usize],
        negatives: Tensor<2, Int>,
    ) -> CmcLossParts {
        assert_eq!(views.len(), bank.views.len(), "the bank has another number of views");
        assert!(views.iter().all(|view| view.dims()[0] == places.len()), "a place for each row is needed");
        let samples = bank.samples();
        assert!(places.iter().all(|&place| place < samples), "a place is beyond the {samples} samples");
        let own: Vec<i32> = places.iter().map(|&place| place as i32).collect();
        let own = Tensor::<2, Int>::from_data(TensorData::new(own, [places.len(), 1]), &negatives.device());
        let asked = Tensor::cat(vec![own, negatives], 1); // [batch, 1 + drawn]
        let anchors: Vec<Tensor<2>> = views.iter().cloned().map(unit_rows).collect();
        let ordered = |from| (0..views.len()).filter(move |&to| to != from).map(move |to| (from, to));
        let mut loss: Option<Tensor<1>> = None;
        let mut pairs = Vec::new();
        for (from, to) in (0..views.len()).flat_map(ordered) {
            let (sum, pair) = self.pair(&anchors[from], bank, &asked, (from, to));
            loss = Some(loss.map_or(sum.clone(), |loss| loss + sum));
            pairs.push(pair);
        }
        for (view, vectors) in anchors.into_iter().enumerate() {
            bank.update(view, vectors, places);
        }
        CmcLossParts { loss: loss.expect("a bank has two or more views"), pairs }
    }

    fn pair(
        &self,
        anchors: &Tensor<2>,
        bank: &mut MemoryBank,
        asked: &Tensor<2, Int>,
        (from, to): (usize, usize),
    ) -> (Tensor<1>, CmcPair) {
        let [batch, candidates] = asked.dims();
        let samples = bank.samples() as f64;
        let fixed = anchors.clone().detach();
        let memory = bank.views[to].clone().detach();
        let scores = self.scores(&fixed, &memory, asked); // [batch, candidates]
        let log_normaliser = self.log_normaliser(&scores, bank.log_normalisers.remove(&(from, to)), samples);
        bank.log_normalisers.insert((from, to), log_normaliser.clone());
        let noise = ((candidates - 1) as f64 / samples).ln();
        let logits = scores - (log_normaliser + noise).reshape([1, 1]);
        let own = Tensor::cat(
            vec![logits.clone().narrow(1, 0, 1).ones_like(), logits.clone().narrow(1, 1, candidates - 1).zeros_like()],
            1,
        );
        let signed = logits * (own.clone() * 2.0 - 1.0);
        // −log σ(x) without overflow on either side.
        let cost = (signed.clone().neg().clamp_min(0.0) + signed.clone().abs().neg().exp().log1p()) / batch as f64;
        let gradient = sigmoid(signed.neg()) * (own.neg() * 2.0 + 1.0) / batch as f64;
        let of_anchors = self.of_anchors(&gradient, &memory, asked);
        let positive = cost.clone().narrow(1, 0, 1).sum();
        let negative = cost.narrow(1, 1, candidates - 1).sum();
        let loss = with_gradient(positive.clone() + negative.clone(), anchors.clone(), of_anchors);
        (loss, CmcPair { from, to, positive, negative })
    }

    /// `â·m̂ / τ`, `[batch, candidates]`.
    fn scores(&self, anchors: &Tensor<2>, memory: &Tensor<2>, asked: &Tensor<2, Int>) -> Tensor<2> {
        let [batch, candidates] = asked.dims();
        let of_rows = |rows: std::ops::Range<usize>| {
            let some = anchors.clone().narrow(0, rows.start, rows.len()).unsqueeze_dim::<3>(1); // [rows, 1, dim]
            let scores = (remembered(memory, asked, &rows) * some).sum_dim(2);
            scores.reshape([rows.len(), candidates]) / self.temperature
        };
        Tensor::cat(chunks(batch, self.chunk).map(of_rows).collect(), 0)
    }

    /// Gradient of the anchors from that of their scores, `[batch, dim]`.
    fn of_anchors(&self, gradient: &Tensor<2>, memory: &Tensor<2>, asked: &Tensor<2, Int>) -> Tensor<2> {
        let [_, dim] = memory.dims();
        let of_rows = |rows: std::ops::Range<usize>| {
            let some = gradient.clone().narrow(0, rows.start, rows.len()).unsqueeze_dim::<3>(2);
            (remembered(memory, asked, &rows) * some).sum_dim(1).reshape([rows.len(), dim]) / self.temperature
        };
        Tensor::cat(chunks(asked.dims()[0], self.chunk).map(of_rows).collect(), 0)
    }

    /// Logarithm of n times the mean of exp(score), `[1]`, averaged with what it was.
    fn log_normaliser(&self, scores: &Tensor<2>, old: Option<Tensor<1>>, samples: f64) -> Tensor<1> {
        let most = scores.clone().max();
        let fresh = (scores.clone() - most.clone().reshape([1, 1])).exp().mean().log() + most + samples.ln();
        let Some(old) = old else { return fresh };
        // The average is one of Z, not of its logarithm.
        let old = old + self.normaliser_momentum.ln();
        let fresh = fresh + (1.0 - self.normaliser_momentum).ln();
        let most = Tensor::cat(vec![old.clone(), fresh.clone()], 0).max();
        ((old - most.clone()).exp() + (fresh - most.clone()).exp()).log() + most
    }
}

/// What the memory has at the places that some anchors ask for, `[rows, candidates, dim]`.
fn remembered(memory: &Tensor<2>, asked: &Tensor<2, Int>, rows: &std::ops::Range<usize>) -> Tensor<3> {
    let [_, dim] = memory.dims();
    let [_, candidates] = asked.dims();
    let places = asked.clone().narrow(0, rows.start, rows.len()).reshape([rows.len() * candidates]);
    florin_backend::rows(memory.clone(), places).reshape([rows.len(), candidates, dim])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn number(x: &Tensor<1>) -> f32 {
        x.clone().into_scalar::<f32>()
    }

    /// Two views, a bank of seven samples, and drawn places.
    fn batch(device: &Device) -> (Vec<Tensor<2>>, MemoryBank, Tensor<2, Int>) {
        let views = (0..2).map(|_| Tensor::random([3, 4], Distribution::Normal(0.0, 1.0), device).require_grad());
        let views = views.collect();
        let bank = MemoryBank::new(2, 7, 4, device);
        let negatives = bank.draw_negatives(3, 5);
        (views, bank, negatives)
    }

    #[test]
    fn scores_are_those_of_the_memory_before_the_batch() {
        let device = device();
        florin_backend::seed(&device, 51);
        let (views, bank, negatives) = batch(&device);
        // With all momentum the bank stays what it is: the loss must not depend on what the update does.
        let [mut moving, mut fixed] = [bank.clone(), MemoryBank { momentum: 1.0, ..bank.clone() }];
        let loss = CmcLoss::default();
        let [one, other] = [&mut moving, &mut fixed]
            .map(|bank| number(&loss.forward(&views, bank, &[4, 0, 6], negatives.clone()).loss));
        assert_eq!(one, other);
        let moved = |bank: &MemoryBank, start: &MemoryBank| {
            number(&(bank.views[0].clone() - start.views[0].clone()).abs().sum().reshape([1]))
        };
        assert!(moved(&moving, &bank) > 0.1 && moved(&fixed, &bank) < 1e-5);
    }

    #[test]
    fn the_normaliser_follows_slowly_after_the_first_batch() {
        let device = device();
        florin_backend::seed(&device, 52);
        let (views, mut bank, negatives) = batch(&device);
        let mild = CmcLoss { temperature: 1.0, ..CmcLoss::default() };
        mild.forward(&views, &mut bank, &[4, 0, 6], negatives.clone());
        let first = number(&bank.log_normalisers[&(0, 1)]).exp();
        let mut alone = bank.clone();
        alone.log_normalisers.clear();
        mild.forward(&views, &mut alone, &[4, 0, 6], negatives.clone());
        let second = number(&alone.log_normalisers[&(0, 1)]).exp();
        mild.forward(&views, &mut bank, &[4, 0, 6], negatives);
        let averaged = number(&bank.log_normalisers[&(0, 1)]).exp();
        assert!((first - second).abs() > 1e-2, "the batches must differ for this test to tell");
        assert!((averaged - (0.99 * first + 0.01 * second)).abs() < 1e-4 * first);
    }

    #[test]
    fn extreme_scores_stay_finite() {
        let device = device();
        florin_backend::seed(&device, 53);
        let (views, mut bank, negatives) = batch(&device);
        let loss = CmcLoss { temperature: 1e-4, chunk: 2, ..CmcLoss::default() };
        for _ in 0..2 {
            let parts = loss.forward(&views, &mut bank, &[4, 0, 6], negatives.clone());
            assert!(number(&parts.loss).is_finite());
            let gradient = views[0].grad(&parts.loss.backward()).expect("tracked");
            assert!(number(&gradient.abs().sum()).is_finite());
        }
        assert!(CmcLoss { temperature: 0.0, ..loss }.validate().is_err());
        assert!(CmcLoss { normaliser_momentum: 1.0, ..loss }.validate().is_err());
    }
}
