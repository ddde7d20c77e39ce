//! Captioning: each token of a text from those before it.
//!
//! `loss = −1/|C| Σ_{t+1∈C} log p(x_{t+1} | x_1..x_t)`, C the tokens that count: neither prompt nor picture nor padding. The position
//! that reads token t says token t + 1, and this is the only place where labels move: the caller gives the ids that the model read.
//!
//! Paper: Yu et al. 2022 (CoCa), <https://arxiv.org/abs/2205.01917>
//! Difference: the captioning half alone. open_clip once moved labels in the model and later in the task; both would be twice.

use burn::prelude::*;

use crate::LossError;
use crate::counting::counted;
use crate::error::check;
use crate::token_costs::{TokenTargets, token_costs};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct CaptioningLoss {
    /// Share of the target spread evenly over the vocabulary, in [0, 1).
    pub smoothing: f64,
    /// Positions whose softmax exists at a time; memory grows with the vocabulary times this.
    pub chunk: usize,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct CaptioningLossParts {
    /// Mean over all tokens that count, `[1]`; zero where none does.
    pub loss: Tensor<1>,
    /// Mean over each caption's tokens, `[batch]`; zero for one with none.
    pub per_caption: Tensor<1>,
    /// How many tokens of each caption count, `[batch]`: to weigh batches whose gradients are added.
    pub tokens: Tensor<1>,
}

impl Default for CaptioningLoss {
    fn default() -> Self {
        Self { smoothing: 0.0, chunk: 256 }
    }
}

impl CaptioningLoss {
    /// Refuses a smoothing that leaves nothing of the target.
    pub fn validate(&self) -> Result<(), LossError> {
        check("smoothing", self.smoothing, "at least 0 and below 1", |value| (0.0..1.0).contains(&value))
    }

    /// # Shapes
    ///
    /// - logits: `[batch, seq, vocabulary]`, at the position of each token that was read
    /// - ids: `[batch, seq]`, the tokens that were read, not moved; where one does not count, anything
    /// - counts: `[batch, seq]`, true for each token that should have been said; the first of a sequence never can be
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn forward(&self, logits: Tensor<3>, ids: Tensor<2, Int>, counts: Tensor<2, Bool>) -> CaptioningLossParts {
        let [batch, seq, vocabulary] = logits.dims();
        assert_eq!((ids.dims(), counts.dims()), ([batch, seq], [batch, seq]), "one id and one mark a position");
        let next = following(seq, &logits.device());
        let last = Tensor::<1, Int>::arange(0..seq as i64, &logits.device()).equal_elem(seq as i64 - 1);
        // As numbers, because Burn 0.22.1's flex does not combine selected marks with others.
        let counts = counts.int().select(1, next.clone()).mask_fill(last.unsqueeze::<2>().expand([batch, seq]), 0);
        let counts = counts.equal_elem(1);
        let rows = batch * seq;
        let targets = TokenTargets {
            ids: ids.select(1, next).reshape([rows]),
            counts: counts.clone().reshape([rows]),
            smoothing: self.smoothing,
        };
        let costs = token_costs(logits.reshape([rows, vocabulary]), targets, self.chunk);
        let means = counted(costs.reshape([batch, seq]), counts);
        CaptioningLossParts { loss: means.mean, per_caption: means.per_row, tokens: means.counts }
    }
}

/// The place after each; the last has none and stays.
fn following(seq: usize, device: &Device) -> Tensor<1, Int> {
    let places: Vec<i32> = (1..=seq).map(|place| place.min(seq - 1) as i32).collect();
    Tensor::from_data(TensorData::new(places, [seq]), device)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, gradient, marks, noise, number, single, slopes, values, whole};

    const COUNTS: [bool; 8] = [false, false, true, true, true, true, true, false];
    const IDS: [usize; 8] = [4, 2, 0, 3, 1, 1, 4, 2];

    /// Two captions of four tokens, a vocabulary of five.
    fn loss(logits: Tensor<3>, counts: &[bool], smoothing: f64) -> CaptioningLossParts {
        let device = logits.device();
        let (ids, counts) = (whole([2, 4], &IDS, &device), marks([2, 4], counts, &device));
        CaptioningLoss { smoothing, chunk: 3 }.forward(logits, ids, counts)
    }

    /// Logits that are sure of `said(position)`.
    fn sure(said: impl Fn(usize) -> usize, device: &Device) -> Tensor<3> {
        let logits: Vec<f64> = (0..40).map(|i| if i % 5 == said(i / 5) { 1e4 } else { 0.0 }).collect();
        single([2, 4, 5], &logits, device)
    }

    #[test]
    fn a_model_that_says_the_next_token_costs_nothing() {
        let device = device();
        let next = |by: usize| move |place: usize| IDS[place / 4 * 4 + (place % 4 + by).min(3)];
        assert_eq!(number(loss(sure(next(1), &device), &COUNTS, 0.0).loss), 0.0);
        // Saying the token just read, or the one after the next, is wrong nearly everywhere.
        for by in [0, 2] {
            assert!(number(loss(sure(next(by), &device), &COUNTS, 0.0).loss) > 1e3, "{by} tokens ahead");
        }
    }

    #[test]
    fn tokens_are_counted_where_they_are_said() {
        let device = device();
        let parts = loss(Tensor::zeros([2, 4, 5], &device), &COUNTS, 0.0);
        // The second caption's first token counts, but nothing comes before it.
        assert_eq!(values(parts.tokens), [2.0, 2.0]);
        assert!((number(parts.loss) - 5f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_caption_of_one_token_or_of_none_that_counts_costs_nothing() {
        let device = device();
        let one = CaptioningLoss::default().forward(
            Tensor::zeros([1, 1, 5], &device),
            whole([1, 1], &[3], &device),
            marks([1, 1], &[true], &device),
        );
        assert_eq!((number(one.loss), number(one.tokens)), (0.0, 0.0));
        let logits = single([2, 4, 5], &noise(3, 40), &device);
        let none = |x: Tensor<3>| loss(x, &[false; 8], 0.1).loss;
        assert_eq!(number(none(logits.clone())), 0.0);
        assert!(gradient(&logits, &none).iter().all(|&g| g == 0.0));
    }

    #[test]
    fn a_smoothing_that_leaves_no_target_is_refused() {
        for (smoothing, right) in [(0.0, true), (0.1, true), (1.0, false), (-0.1, false), (f64::NAN, false)] {
            assert_eq!(CaptioningLoss { smoothing, chunk: 1 }.validate().is_ok(), right, "{smoothing}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn prompts_and_padding_have_no_effect_not_even_when_they_are_no_numbers(seed in any::<u64>()) {
            let device = device();
            let clean = noise(seed, 40);
            // Position t counts where token t + 1 does.
            let spoiled: Vec<f64> = clean
                .iter()
                .enumerate()
                .map(|(i, &x)| if i / 5 % 4 < 3 && COUNTS[i / 5 + 1] { x } else { f64::NAN })
                .collect();
            let of = |x: Tensor<3>| loss(x, &COUNTS, 0.1).loss;
            let (good, bad) = (single([2, 4, 5], &clean, &device), single([2, 4, 5], &spoiled, &device));
            prop_assert_eq!(number(of(good.clone())), number(of(bad.clone())));
            prop_assert_eq!(gradient(&good, &of), gradient(&bad, &of));
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            slopes([2, 4, 5], &noise(seed, 40), &|x: Tensor<3>| loss(x * 3.0, &COUNTS, 0.2).loss)?;
        }

        #[test]
        fn logits_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large: Vec<f64> = noise(seed, 40).iter().map(|value| value.signum() * 1e4).collect();
            let logits = single([2, 4, 5], &large, &device);
            let of = |x: Tensor<3>| loss(x, &COUNTS, 0.1).loss;
            prop_assert!(number(of(logits.clone())).is_finite());
            prop_assert!(gradient(&logits, &of).iter().all(|g| g.is_finite()));
        }
    }
}
