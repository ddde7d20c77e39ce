//! Cross-entropy of scaled similarities, some rows at a time: what the softmax contrastive losses are made of.
//!
//! Row i scores every key it may see by `scale · qᵢ·kⱼ` and is charged `Σⱼ wᵢⱼ (log Σₖ exp(scoreᵢₖ) − scoreᵢⱼ)` for its target
//! weights w. Kept for a backward pass, the scores of a batch of n would take n² numbers; but their gradient has a closed form
//! (softmax less target), so that each chunk of rows gives its value and its gradients at once and is dropped. Memory is
//! O(batch · (chunk + dim)), value and gradients are those of the whole.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::product;

/// Scores of hidden keys: finite, so that a row that sees no key gives zero and not NaN.
const HIDDEN: f32 = -1e30;

/// What some rows should be closest to.
pub(crate) struct RowTargets {
    /// `[rows, keys]`, zero for every hidden key; a row of zeros costs nothing.
    pub(crate) weights: Tensor<2>,
    /// `[rows, keys]`, true where a key does not compete.
    pub(crate) hidden: Option<Tensor<2, Bool>>,
    /// `[1, keys]`, added to the scores: the logarithm of how often a key counts among those that compete, once unless given.
    pub(crate) log_count: Option<Tensor<2>>,
}

impl RowTargets {
    /// Keys that all count once.
    pub(crate) fn new(weights: Tensor<2>, hidden: Option<Tensor<2, Bool>>) -> Self {
        Self { weights, hidden, log_count: None }
    }
}

/// Vectors to compare.
pub(crate) struct Similarities {
    /// `[rows, dim]`
    pub(crate) queries: Tensor<2>,
    /// `[keys, dim]`
    pub(crate) keys: Tensor<2>,
    /// `[1]`
    pub(crate) scale: Tensor<1>,
    /// Rows whose scores exist at a time.
    pub(crate) chunk: usize,
}

impl Similarities {
    /// The sum over rows, `[1]`, with gradients of queries, keys and scale.
    pub(crate) fn cross_entropy(self, targets: &dyn Fn(Range<usize>) -> RowTargets) -> Tensor<1> {
        self.charged(targets, &mut |_, _| ())
    }

    /// The same, and how many rows score one of their targets above every other key, `[1]`, without gradient.
    pub(crate) fn cross_entropy_and_hits(self, targets: &dyn Fn(Range<usize>) -> RowTargets) -> (Tensor<1>, Tensor<1>) {
        let mut hits = self.scale.clone().detach().zeros_like();
        let value = self.charged(targets, &mut |seen, weights| hits = hits.clone() + count_hits(seen, weights));
        (value, hits)
    }

    /// The sum over rows; `look` sees the scores and target weights of each chunk.
    fn charged(
        self,
        targets: &dyn Fn(Range<usize>) -> RowTargets,
        look: &mut dyn FnMut(&Tensor<2>, &Tensor<2>),
    ) -> Tensor<1> {
        let (queries, keys, scale) =
            (self.queries.clone().detach(), self.keys.clone().detach(), self.scale.clone().detach());
        let [rows, _] = queries.dims();
        let factor: Tensor<2> = scale.clone().reshape([1, 1]);
        let (mut value, mut of_scale) = (scale.zeros_like(), scale.zeros_like());
        let (mut of_queries, mut of_keys) = (Vec::new(), keys.zeros_like());
        for place in chunks(rows, self.chunk) {
            let some = queries.clone().narrow(0, place.start, place.len());
            let products = product(some.clone(), keys.clone().transpose()); // [chunk, keys]
            let (charged, gradient) = charge(products.clone() * factor.clone(), targets(place), look);
            value = value + charged;
            of_scale = of_scale + (gradient.clone() * products).sum();
            of_queries.push(product(gradient.clone(), keys.clone()) * factor.clone());
            of_keys = of_keys + product(gradient.transpose(), some) * factor.clone();
        }
        let value = with_gradient(value, self.queries, Tensor::cat(of_queries, 0));
        with_gradient(with_gradient(value, self.keys, of_keys), self.scale, of_scale)
    }
}

/// The cost of some rows, `[1]`, and its gradient of their scores, `[rows, keys]`.
fn charge(
    scores: Tensor<2>,
    targets: RowTargets,
    look: &mut dyn FnMut(&Tensor<2>, &Tensor<2>),
) -> (Tensor<1>, Tensor<2>) {
    let RowTargets { weights, hidden, log_count } = targets;
    let scores = match log_count {
        Some(log_count) => scores + log_count,
        None => scores,
    };
    let seen = match hidden {
        Some(hidden) => scores.clone().mask_fill(hidden, HIDDEN),
        None => scores.clone(),
    };
    look(&seen, &weights);
    let most = seen.clone().max_dim(1);
    let shares = (seen - most.clone()).exp();
    let sum = shares.clone().sum_dim(1);
    let weight = weights.clone().sum_dim(1); // [rows, 1]
    // Both terms are differences from the largest score, so that nothing large cancels.
    let charged = weight.clone() * sum.clone().log() + (weights.clone() * (most - scores)).sum_dim(1);
    (charged.sum(), shares / sum * weight - weights)
}

/// How many rows score a target above everything else, `[1]`; a tie is no hit, so that vectors which are all alike hit nothing.
fn count_hits(seen: &Tensor<2>, weights: &Tensor<2>) -> Tensor<1> {
    let target = weights.clone().greater_elem(0.0);
    let best = seen.clone().mask_fill(target.clone().bool_not(), HIDDEN).max_dim(1);
    let other = seen.clone().mask_fill(target, HIDDEN).max_dim(1);
    best.greater(other).float().cast(seen.dtype()).sum()
}

/// `value` unchanged, with the gradient of one of the tensors it was computed from.
pub(crate) fn with_gradient<const D: usize>(value: Tensor<1>, of: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    value + ((of.clone() - of.detach()) * gradient).sum()
}

/// Ranges of `chunk` rows, the last one shorter.
pub(crate) fn chunks(rows: usize, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    let chunk = chunk.max(1);
    (0..rows).step_by(chunk).map(move |start| start..(start + chunk).min(rows))
}

/// Weight one for one key a row: row `rows.start + i` has the key `of(rows.start + i)`.
pub(crate) fn one_key(rows: Range<usize>, keys: usize, of: impl Fn(usize) -> usize, like: &Tensor<2>) -> Tensor<2> {
    let mut weights = vec![0f32; rows.len() * keys];
    for (place, row) in rows.clone().enumerate() {
        weights[place * keys + of(row)] = 1.0;
    }
    Tensor::<2>::from_data(TensorData::new(weights, [rows.len(), keys]), &like.device()).cast(like.dtype())
}

/// Vectors of length one, `[rows, dim]`; a vector of zeros stays zero, with a gradient of zero.
pub(crate) fn normalised(x: Tensor<2>) -> Tensor<2> {
    // The square of the 1e-12 below which PyTorch's `normalize` stops dividing.
    let length = x.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    x / length
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use burn::tensor::Distribution;

    use crate::{ClipLoss, NtXentLoss, SigLipLoss, SupervisedContrastLoss};

    type OfPairs<'a> = &'a dyn Fn(&Tensor<2>, &Tensor<2>) -> f32;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn number(x: Tensor<1>) -> f32 {
        x.into_scalar::<f32>()
    }

    fn vectors(rows: usize, device: &Device) -> Tensor<2> {
        Tensor::random([rows, 6], Distribution::Normal(0.0, 1.0), device)
    }

    #[test]
    fn the_order_of_pairs_does_not_matter() {
        let device = device();
        florin_backend::seed(&device, 11);
        let (image, text) = (vectors(5, &device), vectors(5, &device));
        let order = Tensor::<1, Int>::from_ints([3, 0, 4, 1, 2], &device);
        let [moved_image, moved_text] = [&image, &text].map(|x| x.clone().select(0, order.clone()));
        let (log_scale, bias) = (Tensor::from_floats([2.0], &device), Tensor::from_floats([-1.0], &device));
        let clip = |a: &Tensor<2>, b: &Tensor<2>| {
            number(ClipLoss::default().forward(a.clone(), b.clone(), log_scale.clone()).loss)
        };
        let sig_lip = |a: &Tensor<2>, b: &Tensor<2>| {
            number(SigLipLoss::default().forward(a.clone(), b.clone(), log_scale.clone(), bias.clone()).loss)
        };
        let nt_xent = |a: &Tensor<2>, b: &Tensor<2>| number(NtXentLoss::default().forward(a.clone(), b.clone()).loss);
        let all: [OfPairs<'_>; 3] = [&clip, &sig_lip, &nt_xent];
        for loss in all {
            assert!((loss(&image, &text) - loss(&moved_image, &moved_text)).abs() < 1e-5);
            assert!((loss(&image, &text) - loss(&image, &moved_text)).abs() > 1e-2, "other pairs, another loss");
            assert!((loss(&image, &text) - loss(&text, &image)).abs() < 1e-5, "both sides count alike");
        }
    }

    #[test]
    fn extreme_scales_and_vectors_of_zeros_stay_finite() {
        let device = device();
        florin_backend::seed(&device, 12);
        let image = Tensor::cat(vec![vectors(3, &device), Tensor::zeros([1, 6], &device)], 0).require_grad();
        let text = vectors(4, &device);
        for log_scale in [-20.0f32, 0.0, 10.0] {
            let scale = Tensor::<1>::from_floats([log_scale], &device).require_grad();
            let bias = Tensor::<1>::from_floats([-1e4], &device);
            let clip = ClipLoss::default().forward(image.clone(), text.clone(), scale.clone()).loss;
            let sig_lip = SigLipLoss::default().forward(image.clone(), text.clone(), scale.clone(), bias).loss;
            for loss in [clip, sig_lip] {
                assert!(number(loss.clone()).is_finite(), "scale e^{log_scale}");
                let graph = loss.backward();
                let of_image = image.grad(&graph).expect("tracked").into_data().try_to_vec::<f32>().expect("f32");
                assert!(
                    of_image.iter().all(|g| g.is_finite()) && number(scale.grad(&graph).expect("tracked")).is_finite()
                );
            }
        }
    }

    #[test]
    fn a_batch_in_which_nobody_has_a_partner_costs_nothing() {
        let device = device();
        let samples = Tensor::<2>::from_floats([[1.0, 2.0], [0.5, -1.0]], &device).require_grad();
        for (rows, classes) in [(2, vec![0, 1]), (1, vec![0])] {
            let some = samples.clone().narrow(0, 0, rows);
            let parts = SupervisedContrastLoss::default().forward(some, &classes);
            assert_eq!((parts.anchors, number(parts.loss.clone())), (0, 0.0));
            let gradient = samples.grad(&parts.loss.backward()).expect("tracked");
            assert_eq!(number(gradient.abs().sum()), 0.0);
        }
    }
}
