//! Vectors replaced by the nearest of a codebook, with the losses that keep both together.
//!
//! `q = e_k, k = argmin ‖x − e_k‖²`; forward gives q, backward the gradient of x (straight through). The codebook follows the vectors by
//! `‖sg(x) − q‖²`, the vectors stay near the codebook by `β ‖x − sg(q)‖²`; or the codebook is a moving average of what chose it.
//!
//! Paper: van den Oord et al. 2017 (VQ-VAE), <https://arxiv.org/abs/1711.00937>
//! Difference: squares are averaged over a vector's numbers, as in the authors' code; the formula sums them.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use florin_backend::{product, rows};

use crate::LossError;
use crate::counting::blanked;
use crate::error::check;

/// What the paper weighs the commitment with; it found no difference from 0.1 to 2.
pub const COMMITMENT: f64 = 0.25;

/// A codebook that learns by its loss.
#[derive(Module, Debug)]
pub struct Codebook {
    /// `[codes, dim]`
    pub codes: Param<Tensor<2>>,
    /// β, what the commitment weighs.
    pub commitment: f64,
}

/// A codebook that is the moving average of the vectors which chose its codes, and has no loss of its own.
#[derive(Module, Debug)]
pub struct MovingCodebook {
    /// `[codes, dim]`; not trained.
    pub codes: Param<Tensor<2>>,
    /// How often each was chosen, moving, `[codes]`.
    pub chosen: Param<Tensor<1>>,
    /// Sum of the vectors that chose it, moving, `[codes, dim]`.
    pub sums: Param<Tensor<2>>,
    /// Share of the past that stays in a step; the paper's is 0.99.
    pub decay: f64,
    /// β, what the commitment weighs.
    pub commitment: f64,
}

/// Quantised vectors, their codes and the losses.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The chosen codes, `[rows, dim]`, whose gradient goes to the vectors; zero for a row that does not count.
    pub vectors: Tensor<2>,
    /// Which they are, `[rows]`.
    pub ids: Tensor<1, Int>,
    /// What is minimised, `[1]`: the codebook's loss plus β times the commitment; zero where no row counts.
    pub loss: Tensor<1>,
    /// Mean square of vectors to codes, `[1]`: moves the codes; zero for a moving codebook.
    pub codebook: Tensor<1>,
    /// The same number, `[1]`: moves the vectors; not yet times β.
    pub commitment: Tensor<1>,
    /// How many codes are in even use, `[1]`, from 1 to their number; without gradient.
    pub perplexity: Tensor<1>,
}

impl Codebook {
    /// Codes from a uniform distribution of width `2 / codes` around zero, as in the authors' code.
    pub fn new(codes: usize, dim: usize, device: &Device) -> Self {
        Self { codes: Param::from_tensor(first_codes(codes, dim, device)), commitment: COMMITMENT }
    }

    /// # Shapes
    ///
    /// - x: `[rows, dim]`
    /// - counts: `[rows]`, false for padding, which has no effect
    pub fn forward(&self, x: Tensor<2>, counts: Tensor<1, Bool>) -> Quantised {
        quantised(x, self.codes.val(), counts, self.commitment, true)
    }
}

impl MovingCodebook {
    /// Codes as in [`Codebook::new`], none chosen yet.
    pub fn new(codes: usize, dim: usize, decay: f64, device: &Device) -> Result<Self, LossError> {
        check("decay", decay, "at least 0 and below 1", |value| (0.0..1.0).contains(&value))?;
        let first = first_codes(codes, dim, device);
        let still = |tensor: Tensor<2>| Param::from_tensor(tensor).set_require_grad(false);
        let chosen = Param::from_tensor(Tensor::<1>::ones([codes], device)).set_require_grad(false);
        Ok(Self { codes: still(first.clone()), chosen, sums: still(first), decay, commitment: COMMITMENT })
    }

    /// # Shapes
    ///
    /// - x: `[rows, dim]`
    /// - counts: `[rows]`, false for padding, which has no effect
    pub fn forward(&self, x: Tensor<2>, counts: Tensor<1, Bool>) -> Quantised {
        quantised(x, self.codes.val().detach(), counts, self.commitment, false)
    }

    /// The codebook after a step: `N ← γN + (1 − γ)n`, `m ← γm + (1 − γ)Σx`, `e = m / N`. A code that nothing chooses keeps its place, since
    /// both shrink alike.
    ///
    /// # Shapes
    ///
    /// - x: `[rows, dim]`, what [`MovingCodebook::forward`] was given
    /// - ids: `[rows]`, what it chose
    /// - counts: `[rows]`
    pub fn updated(self, x: Tensor<2>, ids: Tensor<1, Int>, counts: Tensor<1, Bool>) -> Self {
        let codes = self.codes.val().dims()[0];
        let x = blanked(x.detach(), counts.clone().unsqueeze_dim::<2>(1));
        let choices = choices(ids, counts, codes, &x); // [rows, codes]
        let new = 1.0 - self.decay;
        let chosen = self.chosen.val() * self.decay + choices.clone().sum_dim(0).reshape([codes]) * new;
        let sums = self.sums.val() * self.decay + product(choices.transpose(), x) * new;
        // Only a code that nothing has chosen for thousands of steps comes near this: it then moves towards zero rather than to infinity.
        let means = sums.clone() / chosen.clone().clamp_min(1e-20).unsqueeze_dim::<2>(1);
        Self {
            codes: self.codes.map(|_| means),
            chosen: self.chosen.map(|_| chosen),
            sums: self.sums.map(|_| sums),
            ..self
        }
    }
}

fn first_codes(codes: usize, dim: usize, device: &Device) -> Tensor<2> {
    let width = 1.0 / codes.max(1) as f64;
    Tensor::random([codes, dim], burn::tensor::Distribution::Uniform(-width, width), device)
}

fn quantised(
    x: Tensor<2>,
    codes: Tensor<2>,
    counts: Tensor<1, Bool>,
    commitment_weight: f64,
    learns: bool,
) -> Quantised {
    let here = counts.clone().unsqueeze_dim::<2>(1);
    let x = blanked(x, here.clone());
    let still = x.clone().detach();
    let ids = nearest(still.clone(), codes.clone().detach());
    let chosen = blanked(rows(codes.clone(), ids.clone()), here);
    let fixed = chosen.clone().detach();
    let [_, dim] = x.dims();
    let number = counts.clone().float().cast(x.dtype()).sum().clamp_min(1.0) * dim as f64;
    let commitment = (x.clone() - fixed.clone()).square().sum() / number.clone();
    let codebook = if learns { (still.clone() - chosen).square().sum() / number } else { commitment.zeros_like() };
    let chosen_times = times(ids.clone(), counts, codes.dims()[0], &still);
    Quantised {
        // The value is the code's to the last bit: what is added is zero.
        vectors: fixed + (x - still),
        ids,
        loss: codebook.clone() + commitment.clone() * commitment_weight,
        codebook,
        commitment,
        perplexity: perplexity(chosen_times),
    }
}

/// The nearest code of each row, `[rows]`; of equals the first.
fn nearest(x: Tensor<2>, codes: Tensor<2>) -> Tensor<1, Int> {
    let [rows, _] = x.dims();
    // Only differences matter: around the codes' mean the squares are small, and so is what cancels.
    let mean = codes.clone().mean_dim(0);
    let (x, codes) = (x - mean.clone(), codes - mean);
    let squares = codes.clone().square().sum_dim(1).transpose(); // [1, codes]
    (squares - product(x, codes.transpose()) * 2.0).argmin(1).reshape([rows])
}

/// One at the code of each row that counts, `[rows, codes]`.
fn choices(ids: Tensor<1, Int>, counts: Tensor<1, Bool>, codes: usize, like: &Tensor<2>) -> Tensor<2> {
    let [rows] = ids.dims();
    let all = Tensor::<1, Int>::arange(0..codes as i64, &like.device()).unsqueeze::<2>().expand([rows, codes]);
    let here = all.equal(ids.unsqueeze_dim::<2>(1).expand([rows, codes]));
    (here.float() * counts.float().unsqueeze_dim::<2>(1)).cast(like.dtype())
}

/// How often each code was chosen by rows that count, `[codes]`.
fn times(ids: Tensor<1, Int>, counts: Tensor<1, Bool>, codes: usize, like: &Tensor<2>) -> Tensor<1> {
    let none = Tensor::<1>::zeros([codes], &like.device()).cast(like.dtype());
    none.select_assign(0, ids, counts.float().cast(like.dtype()), IndexingUpdateOp::Add)
}

/// The exponential of the entropy of how often codes are used, `[1]`.
fn perplexity(times: Tensor<1>) -> Tensor<1> {
    let shares = times.clone() / times.sum().clamp_min(1.0);
    // Below the least share there can be, and above what f32 cannot take the logarithm of.
    let entropy = (shares.clone() * shares.clamp_min(1e-30).log()).sum().neg();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, gradient, marks, noise, number, single, values, whole};

    fn book(codes: usize, dim: usize, numbers: &[f64], device: &Device) -> Codebook {
        let codes = Param::from_tensor(single([codes, dim], numbers, device));
        Codebook { codes, commitment: COMMITMENT }
    }

    fn all(rows: usize, device: &Device) -> Tensor<1, Bool> {
        marks([rows], &vec![true; rows], device)
    }

    #[test]
    fn the_nearest_code_is_chosen_and_both_losses_are_the_hand_worked_ones() {
        let device = device();
        let book = book(3, 2, &[0.0, 0.0, 1.0, 1.0, 4.0, 0.0], &device);
        let x = single([3, 2], &[0.9, 1.2, 3.0, 0.0, 0.8, 0.9], &device);
        let found = book.forward(x, all(3, &device));
        assert_eq!(found.ids.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(values(found.vectors), [1.0, 1.0, 4.0, 0.0, 1.0, 1.0]);
        let square = (0.01 + 0.04 + 1.0 + 0.04 + 0.01) / 6.0;
        assert!((number(found.codebook) - square).abs() < 1e-6);
        assert!((number(found.loss) - 1.25 * square).abs() < 1e-6);
        let [one, two] = [1.0 / 3.0, 2.0 / 3.0f64].map(|share| share * f64::ln(share));
        assert!((number(found.perplexity) - (-one - two).exp()).abs() < 1e-5);
    }

    #[test]
    fn gradients_pass_straight_through_to_the_vectors_and_not_to_the_codes() {
        let device = device();
        let book = book(2, 2, &[0.0, 0.0, 1.0, 1.0], &device);
        let x = single([2, 2], &[0.9, 1.2, 0.1, 0.3], &device).require_grad();
        let weight = single([2, 2], &[1.0, -2.0, 3.0, 0.5], &device);
        let graph = (book.forward(x.clone(), all(2, &device)).vectors * weight.clone()).sum().backward();
        assert_eq!(values(x.grad(&graph).expect("straight through")), values(weight));
        assert!(book.codes.val().grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
    }

    #[test]
    fn the_codebook_s_loss_moves_codes_alone_and_the_commitment_vectors_alone() {
        let device = device();
        let book = book(2, 2, &[0.0, 0.0, 1.0, 1.0], &device);
        let x = single([1, 2], &[0.9, 1.2], &device).require_grad();
        let zero = |g: Option<Tensor<2>>| g.is_none_or(|g| values(g).iter().all(|&g| g == 0.0));
        let close = |g: Tensor<2>, expected: &[f64]| {
            values(g).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6)
        };
        let graph = book.forward(x.clone(), all(1, &device)).codebook.backward();
        assert!(zero(x.grad(&graph)));
        assert!(close(book.codes.val().grad(&graph).expect("learns"), &[0.0, 0.0, 0.1, -0.2]));
        let graph = book.forward(x.clone(), all(1, &device)).commitment.backward();
        assert!(zero(book.codes.val().grad(&graph)));
        assert!(close(x.grad(&graph).expect("commits"), &[-0.1, 0.2]));
    }

    #[test]
    fn a_moving_codebook_goes_to_the_mean_of_what_chooses_it() {
        let device = device();
        let mut book = MovingCodebook::new(3, 1, 0.5, &device).expect("valid");
        let codes = single([3, 1], &[0.0, 10.0, -50.0], &device);
        book.codes = Param::from_tensor(codes.clone()).set_require_grad(false);
        book.sums = Param::from_tensor(codes).set_require_grad(false);
        let x = single([3, 1], &[1.0, 3.0, 9.0], &device);
        for step in 0..40 {
            let found = book.forward(x.clone(), all(3, &device));
            assert_eq!(number(found.codebook), 0.0);
            book = book.updated(x.clone(), found.ids, all(3, &device));
            if step == 0 {
                // (0 · 0.5 + (1 + 3) · 0.5) / (1 · 0.5 + 2 · 0.5)
                assert!((values(book.codes.val())[0] - 2.0 / 1.5).abs() < 1e-6);
            }
        }
        let codes = values(book.codes.val());
        assert!((codes[0] - 2.0).abs() < 1e-5 && (codes[1] - 9.0).abs() < 1e-5, "{codes:?}");
        assert!((codes[2] + 50.0).abs() < 1e-3, "what nothing chooses stays: {codes:?}");
        assert!(MovingCodebook::new(3, 1, 1.0, &device).is_err());
    }

    #[test]
    fn a_batch_of_padding_costs_nothing_and_leaves_a_moving_codebook_in_place() {
        let device = device();
        let none = marks([2], &[false, false], &device);
        let book = book(2, 2, &[0.0, 0.5, 1.0, 1.0], &device);
        let x = single([2, 2], &[f64::NAN, 1.2, 0.1, 0.3], &device);
        let loss = |x: Tensor<2>| book.forward(x, none.clone()).loss;
        assert_eq!(number(loss(x.clone())), 0.0);
        assert!(gradient(&x, &loss).iter().all(|&g| g == 0.0));
        let moving = MovingCodebook::new(2, 2, 0.9, &device).expect("valid");
        let before = values(moving.codes.val());
        let after = values(moving.updated(x, whole([2], &[0, 1], &device), none).codes.val());
        assert!(before.iter().zip(after).all(|(before, after)| (before - after).abs() < 1e-6));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn padding_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>()) {
            let device = device();
            let book = book(4, 3, &noise(seed ^ 1, 12), &device);
            let x = noise(seed, 9);
            let padded = [x.clone(), vec![f64::NAN; 6]].concat();
            let short = book.forward(single([3, 3], &x, &device), all(3, &device));
            let counts = marks([5], &[true, true, true, false, false], &device);
            let long = book.forward(single([5, 3], &padded, &device), counts);
            for (one, other) in [(short.loss, long.loss), (short.perplexity, long.perplexity)] {
                prop_assert!((number(one) - number(other)).abs() < 1e-6);
            }
            prop_assert_eq!(values(short.vectors), values(long.vectors.narrow(0, 0, 3)));
        }

        #[test]
        fn far_from_the_origin_the_nearest_code_is_still_found(seed in any::<u64>()) {
            let device = device();
            let far = |numbers: Vec<f64>| numbers.iter().map(|x| 1e4 + x * 4.0).collect::<Vec<_>>();
            let (codes, x) = (far(noise(seed ^ 1, 12)), far(noise(seed, 15)));
            let found = book(4, 3, &codes, &device).forward(single([5, 3], &x, &device), all(5, &device));
            let chosen = found.ids.into_data().iter::<i64>().collect::<Vec<_>>();
            for (row, &chosen) in chosen.iter().enumerate() {
                let gap = |code: usize| (0..3).map(|i| (x[row * 3 + i] - codes[code * 3 + i]).powi(2)).sum::<f64>();
                let best = (0..4).map(gap).fold(f64::INFINITY, f64::min);
                prop_assert!(gap(chosen as usize) < best + 0.05, "{} against {best}", gap(chosen as usize));
            }
            prop_assert!(number(found.loss).is_finite());
        }
    }
}
