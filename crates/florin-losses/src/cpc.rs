//! Contrastive predictive coding: a context picks what comes k steps later among other things that could have come.
//!
//! `f_k(z, c) = exp(zᵀ W_k c)`, one W_k a step; `L_k = −mean log (f_k(z_{t+k}, c_t) / Σ f_k(z', c_t))`, the sum over the right
//! one and N − 1 wrong ones; the loss is the mean over k of the mean over t. `log N − L_k` never exceeds the information that the
//! context has of that future, nor log N.
//!
//! Paper: van den Oord et al. 2018 (CPC), <https://arxiv.org/abs/1807.03748>
//! Difference: none; no normalisation, no temperature. Where wrong ones come from is stated, see [`CpcNegatives`]. The context must be
//! causal, which is its network's matter (`florin_nn::Gru`), and a window of raw data behind z_{t+k} must not reach back to c_t's.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, rows};
use florin_nn::Linear;

use crate::contrast::Similarities;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct CpcLoss {
    /// Where wrong answers come from.
    pub negatives: CpcNegatives,
    /// Rows whose scores exist at a time; of small groups, as many as have no more scores than that many rows with that many keys.
    pub chunk: usize,
}

/// Where wrong answers come from. What is easy to tell apart decides what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpcNegatives {
    /// Other rows of the batch at the same time: the cross-section of a market. What all rows share at a time, such as the date, is of no use.
    OtherRows,
    /// Other times of the same row: one asset's own history. What marks the asset is of no use.
    OtherTimes,
    /// Every row at every time.
    Everything,
}

/// The projections of a context onto its future, one a step.
#[derive(Module, Debug)]
pub struct CpcPredictor {
    /// `W_k`, `[context dim, dim]`, of step 1 first.
    pub steps: Vec<Linear>,
}

/// The loss and its steps.
#[derive(Clone, Debug)]
pub struct CpcLossParts {
    /// Mean over the steps that have anchors, `[1]`.
    pub loss: Tensor<1>,
    /// Step 1 first.
    pub steps: Vec<CpcStep>,
}

/// What came out for one step into the future.
#[derive(Clone, Debug)]
pub struct CpcStep {
    /// Contexts that had a future and something to confuse it with.
    pub anchors: usize,
    /// Mean over those, `[1]`; zero where there is none.
    pub loss: Tensor<1>,
    /// Share of those whose right answer scores above every wrong one, `[1]`, without gradient.
    pub accuracy: Tensor<1>,
    /// `log N − loss`, in nats, `[1]`, without gradient: what is known of the future at least, in expectation.
    pub bound: Tensor<1>,
}

impl Default for CpcLoss {
    fn default() -> Self {
        Self { negatives: CpcNegatives::OtherRows, chunk: 512 }
    }
}

impl CpcPredictor {
    /// New weights for that many steps; the paper predicts 12 steps of sound.
    pub fn new(context_dim: usize, dim: usize, steps: usize, device: &Device) -> Self {
        Self { steps: (0..steps).map(|_| Linear::without_bias(context_dim, dim, device)).collect() }
    }
}

impl CpcLoss {
    /// # Shapes
    ///
    /// - encoded: `[batch, time, dim]`, z
    /// - context: `[batch, time, context dim]`, c; what c_t is made of must not lie after t
    /// - lengths: times of each row that are real; the others neither ask nor answer, whatever stands there
    ///
    /// # Panics
    ///
    /// If batch or time of both differ, or a length is beyond the time.
    pub fn forward(
        &self,
        predictor: &CpcPredictor,
        encoded: Tensor<3>,
        context: Tensor<3>,
        lengths: &[usize],
    ) -> CpcLossParts {
        let [batch, time, dim] = encoded.dims();
        let [context_batch, context_time, context_dim] = context.dims();
        assert_eq!([context_batch, context_time], [batch, time], "a context for each encoded step is needed");
        assert_eq!(lengths.len(), batch, "a length for each row is needed");
        assert!(lengths.iter().all(|&length| length <= time), "a length is beyond the time ({time})");
        let flat = encoded.reshape([batch * time, dim]);
        let context = context.reshape([batch * time, context_dim]);
        let of_step = |(index, projection): (usize, &Linear)| {
            let ahead = index + 1;
            let groups = self.groups(ahead, time, lengths);
            self.step(projection, &flat, &context, &groups, ahead)
        };
        let steps: Vec<CpcStep> = predictor.steps.iter().enumerate().map(of_step).collect();
        let counted = steps.iter().filter(|step| step.anchors > 0).count().max(1);
        let loss = steps.iter().fold(zero_like(&flat), |sum, step| sum + step.loss.clone()) / counted as f64;
        CpcLossParts { loss, steps }
    }

    /// Places of contexts that compete with each other, as places in `[batch · time]`: each is its own right answer among its group's.
    fn groups(&self, ahead: usize, time: usize, lengths: &[usize]) -> Vec<Vec<i32>> {
        let place = |row: usize, at: usize| (row * time + at) as i32;
        let has_future = |row: usize, at: usize| at + ahead < lengths[row];
        let of_time =
            |at: usize| (0..lengths.len()).filter(|&row| has_future(row, at)).map(|row| place(row, at)).collect();
        let of_row = |row: usize| (0..time).filter(|&at| has_future(row, at)).map(|at| place(row, at)).collect();
        let groups: Vec<Vec<i32>> = match self.negatives {
            CpcNegatives::OtherRows => (0..time).map(of_time).collect(),
            CpcNegatives::OtherTimes => (0..lengths.len()).map(of_row).collect(),
            CpcNegatives::Everything => vec![(0..lengths.len()).flat_map(|row| -> Vec<i32> { of_row(row) }).collect()],
        };
        let mut groups: Vec<Vec<i32>> = groups.into_iter().filter(|group| group.len() > 1).collect();
        // Groups of one size are multiplied together.
        groups.sort_by_key(Vec::len);
        groups
    }

    fn step(
        &self,
        projection: &Linear,
        flat: &Tensor<2>,
        context: &Tensor<2>,
        groups: &[Vec<i32>],
        ahead: usize,
    ) -> CpcStep {
        let anchors: usize = groups.iter().map(Vec::len).sum();
        let (mut sum, mut hits) = (zero_like(flat), zero_like(flat));
        for pack in packs(groups, self.chunk) {
            let places: Vec<i32> = pack.concat();
            let at = |places: Vec<i32>| {
                let count = places.len();
                Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &flat.device())
            };
            let later = at(places.iter().map(|place| place + ahead as i32).collect());
            let queries = projection.forward(rows(context.clone(), at(places)));
            let (charged, right) = self.compare(queries, rows(flat.clone(), later), pack.len());
            (sum, hits) = (sum + charged, hits + right);
        }
        let count = anchors.max(1) as f64;
        let log_candidates: f64 = groups.iter().map(|group| group.len() as f64 * (group.len() as f64).ln()).sum();
        let loss = sum / count;
        let bound = (loss.clone().detach() - log_candidates / count).neg();
        CpcStep { anchors, loss, accuracy: hits / count, bound }
    }

    /// The sum over some groups' contexts, `[1]`, and how many find their future; both are of all groups in turn.
    fn compare(&self, queries: Tensor<2>, keys: Tensor<2>, groups: usize) -> (Tensor<1>, Tensor<1>) {
        let [count, dim] = queries.dims();
        let scale = Tensor::<1>::ones([1], &queries.device()).cast(queries.dtype()).detach();
        let [queries, keys] = [queries, keys].map(|x| x.reshape([groups, count / groups, dim]));
        let targets = |rows: Range<usize>| {
            RowTargets::new(KeyLists::new((0..groups).flat_map(|_| rows.clone().map(|row| [row]))))
        };
        let chunk = if groups > 1 { count } else { self.chunk };
        Similarities { queries, keys, scale, chunk }.cross_entropy_and_hits(&targets)
    }
}

/// `[1]`, where and as a tensor is.
fn zero_like(x: &Tensor<2>) -> Tensor<1> {
    Tensor::<1>::zeros([1], &x.device()).cast(x.dtype())
}

/// Neighbouring groups of one size taken together as long as they have no more than `chunk · chunk` scores: fewer, larger operations.
fn packs(groups: &[Vec<i32>], chunk: usize) -> Vec<&[Vec<i32>]> {
    let mut packs = Vec::new();
    for alike in groups.chunk_by(|one, next| one.len() == next.len()) {
        let scores = alike[0].len() * alike[0].len();
        packs.extend(alike.chunks((chunk * chunk / scores).max(1)));
    }
    packs
}

#[cfg(test)]
mod tests {
    use burn::optim::{AdamConfig, GradientsParams};
    use burn::tensor::Distribution;

    use super::*;

    const KINDS: [CpcNegatives; 3] = [CpcNegatives::OtherRows, CpcNegatives::OtherTimes, CpcNegatives::Everything];

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn number(x: &Tensor<1>) -> f64 {
        f64::from(x.clone().into_scalar::<f32>())
    }

    fn normal(shape: [usize; 3], device: &Device) -> Tensor<3> {
        Tensor::random(shape, Distribution::Normal(0.0, 3.0), device)
    }

    #[test]
    fn the_bound_never_exceeds_the_logarithm_of_the_candidates() {
        let device = device();
        florin_backend::seed(&device, 31);
        for (negatives, candidates) in KINDS.into_iter().zip([5.0f64, 3.0, 15.0]) {
            // The context is the future itself, and the projection large: nothing could predict better.
            let z = normal([5, 4, 2], &device);
            let context = Tensor::cat(vec![z.clone().narrow(1, 1, 3), z.clone().narrow(1, 0, 1)], 1);
            for factor in [0.0, 1.0, 1e4] {
                let weight = Tensor::<2>::eye(2, &device) * factor;
                let steps = vec![Linear { weight: burn::module::Param::from_tensor(weight), bias: None }];
                let predictor = CpcPredictor { steps };
                let parts = CpcLoss { negatives, chunk: 4 }.forward(&predictor, z.clone(), context.clone(), &[4; 5]);
                let bound = number(&parts.steps[0].bound);
                assert!(bound <= candidates.ln() + 1e-6, "{negatives:?}: {bound}");
                if factor == 0.0 {
                    assert!(bound.abs() < 1e-6, "nothing is known: {bound}");
                    assert_eq!(number(&parts.steps[0].accuracy), 0.0, "a tie is no hit");
                }
            }
        }
    }

    #[test]
    fn padding_and_what_stands_in_it_do_not_count() {
        let device = device();
        florin_backend::seed(&device, 32);
        let predictor = CpcPredictor::new(3, 2, 2, &device);
        let (z, c) = (normal([4, 4, 2], &device), normal([4, 4, 3], &device));
        let [z_padded, c_padded] = [(&z, 2), (&c, 3)]
            .map(|(x, dim)| Tensor::cat(vec![x.clone(), Tensor::full([4, 3, dim], f32::NAN, &device)], 1));
        for negatives in KINDS {
            let loss = CpcLoss { negatives, chunk: 5 };
            let short = loss.forward(&predictor, z.clone(), c.clone(), &[4, 2, 3, 4]).loss;
            let padded = loss.forward(&predictor, z_padded.clone(), c_padded.clone(), &[4, 2, 3, 4]).loss;
            assert!(number(&short) > 0.1);
            assert!((number(&short) - number(&padded)).abs() < 1e-6, "{negatives:?}");
        }
    }

    #[test]
    fn a_step_beyond_every_row_has_no_anchors_and_does_not_count() {
        let device = device();
        florin_backend::seed(&device, 33);
        let predictor = CpcPredictor::new(2, 2, 4, &device);
        let z = normal([3, 3, 2], &device);
        let parts = CpcLoss::default().forward(&predictor, z.clone(), z, &[3, 3, 3]);
        assert_eq!(parts.steps.iter().map(|step| step.anchors).collect::<Vec<_>>(), [6, 3, 0, 0]);
        let mean = (number(&parts.steps[0].loss) + number(&parts.steps[1].loss)) / 2.0;
        assert!((number(&parts.loss) - mean).abs() < 1e-6);
        assert_eq!(number(&parts.steps[2].bound), 0.0);
    }

    /// `x_{t+1} = ρ x_t + √(1 − ρ²) ε`, stationary, `[batch, time, 1]`.
    fn autoregressive(rho: f64, batch: usize, time: usize, device: &Device) -> Tensor<3> {
        let noise = || Tensor::<2>::random([batch, 1], Distribution::Normal(0.0, 1.0), device);
        let mut x = noise();
        let mut steps = Vec::new();
        for _ in 0..time {
            steps.push(x.clone().unsqueeze_dim::<3>(1));
            x = x * rho + noise() * (1.0 - rho * rho).sqrt();
        }
        Tensor::cat(steps, 1)
    }

    #[test]
    fn on_an_autoregressive_process_the_bound_is_near_the_information() {
        const RHO: f64 = 0.9;
        let device = device();
        florin_backend::seed(&device, 34);
        let mut predictor = CpcPredictor::new(2, 2, 3, &device);
        let mut optimiser = AdamConfig::new().init();
        let loss = CpcLoss { negatives: CpcNegatives::OtherRows, chunk: 256 };
        // The log density ratio is quadratic: −a x'² + b x x' and a term of the context alone, which cancels.
        let parts = |predictor: &CpcPredictor| {
            let x = autoregressive(RHO, 128, 6, &device);
            let encoded = Tensor::cat(vec![x.clone(), x.clone().square()], 2);
            let context = Tensor::cat(vec![x.clone(), x.ones_like()], 2);
            loss.forward(predictor, encoded, context, &[6; 128])
        };
        for _ in 0..150 {
            let gradients = GradientsParams::from_grads(parts(&predictor).loss.backward(), &predictor);
            predictor = optimiser.step(0.1, predictor, gradients);
        }
        let mut bounds = [0.0; 3];
        for _ in 0..10 {
            let steps = parts(&predictor).steps;
            bounds.iter_mut().zip(&steps).for_each(|(bound, step)| *bound += number(&step.bound) / 10.0);
        }
        for (index, bound) in bounds.into_iter().enumerate() {
            let information = -0.5 * (1.0 - RHO.powi(2 * (index as i32 + 1))).ln();
            println!("step {}: bound {bound:.3}, information {information:.3}", index + 1);
            // Above it by the noise of 6,400 anchors only, below by what 128 candidates and 150 steps leave out.
            assert!((-0.08..0.05).contains(&(bound - information)), "step {}: {bound} of {information}", index + 1);
        }
    }
}
