//! Span softmax: one probability over every span of words, and over there being none, for each field of a document.
//!
//! A tagger that decides word by word has to be decoded into fields afterwards, and knows no probability of a whole
//! field. Here the tags' scores add up to a score of each span, and the spans compete:
//!
//! `score(i, j) = start_i + end_j + Σ_{k=i..j} inside_k`, `p(i, j) = exp(score) / (exp(none) + Σ exp(score))`.
//!
//! It is a semi-Markov field with one segment. A value is often printed more than once; every place counts as right, so the
//! loss is `-log Σ p(i, j)` over the gold spans.
//!
//! Paper: Sarawagi and Cohen 2004, <https://papers.nips.cc/paper/2648-semi-markov-conditional-random-fields-for-information-extraction>
//! Difference: one segment a field, several right answers.

use burn::prelude::*;
use florin_backend::{FieldScores, fuses, span_costs};

/// Scores of the head.
#[derive(Clone, Debug)]
pub struct SpanScores {
    /// `[batch, fields, words]`
    pub start: Tensor<3>,
    /// `[batch, fields, words]`
    pub inside: Tensor<3>,
    /// `[batch, fields, words]`
    pub end: Tensor<3>,
    /// `[batch, fields]`
    pub none: Tensor<2>,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct SpanLossParts {
    /// Weighted mean over documents and fields, `[1]`.
    pub loss: Tensor<1>,
    /// Weighted mean over documents, `[fields]`; zero for a field that counts nowhere.
    pub per_field: Tensor<1>,
}

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct SpanLoss {
    /// Longest span in words; longer ones have probability zero.
    pub longest: usize,
}

impl SpanLoss {
    /// # Shapes
    ///
    /// - scores: see [`SpanScores`]
    /// - lengths: words of each document
    /// - gold: `[batch, fields, words, words]`, true at (first, last) of every right span; a field with no right span is
    ///   right when none is chosen, and a span that is too long or beyond the end is never right
    /// - weight: `[batch, fields]`, how much each field counts, never negative; zero is ignored
    pub fn forward(
        &self,
        scores: SpanScores,
        lengths: &[usize],
        gold: Tensor<4, Bool>,
        weight: Tensor<2>,
    ) -> SpanLossParts {
        let [_, fields, _] = scores.start.dims();
        let costs = if fuses(&scores.start) {
            let SpanScores { start, inside, end, none } = scores;
            span_costs(FieldScores { start, inside, end, none }, lengths, gold, self.longest)
        } else {
            self.composed(&scores, lengths, gold)
        };
        let losses = costs * weight.clone(); // [batch, fields]
        SpanLossParts {
            loss: losses.clone().sum() / weight.clone().sum().clamp_min(1.0),
            per_field: (losses.sum_dim(0) / weight.sum_dim(0).clamp_min(1.0)).reshape([fields]),
        }
    }

    /// The cost of each field, `[batch, fields]`, by a matrix of all spans.
    fn composed(&self, scores: &SpanScores, lengths: &[usize], gold: Tensor<4, Bool>) -> Tensor<2> {
        let [batch, fields, words] = scores.start.dims();
        let device = scores.start.device();
        let impossible = impossible_spans(lengths, words, self.longest, &device).expand([batch, fields, words, words]);
        // A gold span that cannot be chosen would make the probability of what is right zero, and the loss infinite.
        let gold = gold.bool_and(impossible.clone().bool_not());
        let spans = span_scores(scores).mask_fill(impossible, f32::NEG_INFINITY);
        let spans = spans.reshape([batch, fields, words * words]);
        let none = scores.none.clone().reshape([batch, fields, 1]);

        let has_gold = gold.clone().reshape([batch, fields, words * words]).any_dim(2); // [batch, fields, 1]
        let not_gold = gold.reshape([batch, fields, words * words]).bool_not();
        let right_spans = spans.clone().mask_fill(not_gold, f32::NEG_INFINITY);
        let right_none = none.clone().mask_fill(has_gold, f32::NEG_INFINITY);
        let all = log_sum_exp(Tensor::cat(vec![none, spans], 2));
        let right = log_sum_exp(Tensor::cat(vec![right_none, right_spans], 2));
        all - right
    }
}

/// `score(i, j)` of every pair of words, possible or not, `[batch, fields, words, words]`.
fn span_scores(scores: &SpanScores) -> Tensor<4> {
    let [_, _, words] = scores.inside.dims();
    // Sums up to and including each word, as a product with a triangle: one fast operation, with a fast gradient.
    let triangle = Tensor::<2>::ones([words, words], &scores.inside.device()).triu(0).cast(scores.inside.dtype());
    let [batch, fields, _] = scores.inside.dims();
    let flat = scores.inside.clone().reshape([1, batch * fields, words]);
    let up_to = florin_backend::product(flat, triangle.unsqueeze_dim::<3>(0)).reshape([batch, fields, words]);
    let from = scores.start.clone() - (up_to.clone() - scores.inside.clone());
    let to = scores.end.clone() + up_to;
    from.unsqueeze_dim::<4>(3) + to.unsqueeze_dim::<4>(2)
}

/// True where (first, last) is not a span of the document: backwards, too long, or beyond its end. `[batch, 1, words, words]`
fn impossible_spans(lengths: &[usize], words: usize, longest: usize, device: &Device) -> Tensor<4, Bool> {
    let possible = |length: usize, first: usize, last: usize| first <= last && last < length && last - first < longest;
    let hidden: Vec<bool> = lengths
        .iter()
        .flat_map(|&length| (0..words * words).map(move |index| !possible(length, index / words, index % words)))
        .collect();
    Tensor::from_data(TensorData::new(hidden, [lengths.len(), 1, words, words]), device)
}

/// Logarithm of the summed exponentials over the last dimension, safe for scores of minus infinity beside finite ones.
fn log_sum_exp(x: Tensor<3>) -> Tensor<2> {
    let [batch, fields, _] = x.dims();
    let most = x.clone().detach().max_dim(2);
    let sum = (x - most.clone()).exp().sum_dim(2).log() + most;
    sum.reshape([batch, fields])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(device: &Device) -> SpanScores {
        SpanScores {
            start: Tensor::from_floats([[[0.3, -0.2, 0.9]]], device),
            inside: Tensor::from_floats([[[0.5, 0.1, -0.7]]], device),
            end: Tensor::from_floats([[[-0.4, 0.8, 0.2]]], device),
            none: Tensor::from_floats([[0.25]], device),
        }
    }

    fn gold(spans: &[(usize, usize)], device: &Device) -> Tensor<4, Bool> {
        let marks: Vec<bool> = (0..9).map(|i| spans.contains(&(i / 3, i % 3))).collect();
        Tensor::from_data(TensorData::new(marks, [1, 1, 3, 3]), device)
    }

    fn whole(device: &Device) -> Tensor<2> {
        Tensor::ones([1, 1], device)
    }

    /// exp of every possible span's score, written out.
    fn expected(i: usize, j: usize) -> f64 {
        let (start, inside, end) = ([0.3, -0.2, 0.9], [0.5, 0.1, -0.7], [-0.4, 0.8, 0.2]);
        (start[i] + end[j] + inside[i..=j].iter().sum::<f64>()).exp()
    }

    #[test]
    fn the_loss_is_the_written_out_one() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let all: f64 = (0..3).flat_map(|i| (i..3).map(move |j| expected(i, j))).sum::<f64>() + 0.25f64.exp();
        let cases: [(&[(usize, usize)], f64); 3] =
            [(&[(0, 1)], expected(0, 1)), (&[(0, 0), (1, 2)], expected(0, 0) + expected(1, 2)), (&[], 0.25f64.exp())];
        for (spans, right) in cases {
            let loss =
                SpanLoss { longest: 3 }.forward(scores(&device), &[3], gold(spans, &device), whole(&device)).loss;
            let found = loss.into_scalar::<f32>();
            assert!((f64::from(found) - (all / right).ln()).abs() < 1e-5, "{spans:?}: {found}");
        }
    }

    #[test]
    fn spans_longer_than_allowed_or_beyond_the_end_do_not_compete() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let all = expected(0, 0) + expected(1, 1) + 0.25f64.exp();
        let loss =
            SpanLoss { longest: 1 }.forward(scores(&device), &[2], gold(&[(1, 1)], &device), whole(&device)).loss;
        assert!((f64::from(loss.into_scalar::<f32>()) - (all / expected(1, 1)).ln()).abs() < 1e-5);
    }

    #[test]
    fn a_gold_span_that_cannot_be_chosen_leaves_none_right() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let loss = SpanLoss { longest: 1 };
        let too_long = loss.forward(scores(&device), &[3], gold(&[(0, 1)], &device), whole(&device)).loss;
        let nothing = loss.forward(scores(&device), &[3], gold(&[], &device), whole(&device)).loss;
        assert_eq!(too_long.into_scalar::<f32>(), nothing.into_scalar::<f32>());
    }

    #[test]
    fn a_field_of_weight_zero_is_ignored_and_others_count_by_their_weight() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let two = |tensor: Tensor<3>| Tensor::cat(vec![tensor.clone(), tensor * 0.5], 1);
        let one = scores(&device);
        let both = SpanScores {
            start: two(one.start),
            inside: two(one.inside),
            end: two(one.end),
            none: Tensor::from_floats([[0.25, -0.5]], &device),
        };
        let gold = Tensor::cat(vec![gold(&[(0, 1)], &device), gold(&[(2, 2)], &device)], 1);
        let loss = |weights: [f32; 2]| {
            let weight = Tensor::<2>::from_floats([weights], &device);
            let parts = SpanLoss { longest: 3 }.forward(both.clone(), &[3], gold.clone(), weight);
            (parts.loss.into_scalar::<f32>(), parts.per_field.into_data().try_to_vec::<f32>().expect("f32"))
        };
        let (first, second) = (loss([1.0, 0.0]), loss([0.0, 1.0]));
        assert_eq!(first.1[1], 0.0);
        assert_eq!(first.0, first.1[0]);
        assert!((first.0 - second.0).abs() > 1e-2, "the two fields must have different losses for this test to tell");
        let expected = (3.0 * first.0 + second.0) / 4.0;
        let (weighed, per_field) = loss([3.0, 1.0]);
        assert!((weighed - expected).abs() < 1e-6, "{weighed} against {expected}");
        assert!((per_field[0] - first.0).abs() < 1e-6 && (per_field[1] - second.0).abs() < 1e-6);
        assert_eq!(loss([0.0, 0.0]).0, 0.0);
    }

    #[test]
    fn extreme_scores_stay_finite() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let start = Tensor::<3>::from_floats([[[300.0, -300.0, 90.0]]], &device).require_grad();
        let scores = SpanScores { start: start.clone(), ..scores(&device) };
        let loss = SpanLoss { longest: 3 }.forward(scores, &[3], gold(&[(1, 1)], &device), whole(&device)).loss;
        assert!(loss.clone().into_scalar::<f32>().is_finite());
        let gradients = loss.backward();
        let gradient = start.grad(&gradients).expect("start is tracked").into_data().try_to_vec::<f32>().expect("f32");
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }

    #[test]
    fn one_operation_in_f32_gives_what_many_give_in_f64() {
        use crate::checking::{device, noise, values};
        const SHAPE: [usize; 3] = [3, 2, 21];
        let device = device();
        let cases = [(4, [21, 17, 1]), (21, [21, 20, 0]), (1, [5, 21, 13])];
        for (case, (longest, lengths)) in cases.into_iter().enumerate() {
            let words = |seed: u64| crate::checking::double::<3>(SHAPE, &noise(seed, 126), &device) * 3.0;
            let [start, inside, end] = [1, 2, 3].map(|seed| words(seed + 10 * case as u64).detach().require_grad());
            let none = crate::checking::double::<2>([3, 2], &noise(4, 6), &device).require_grad();
            // One field in three has no right span; some of the others' cannot be.
            let right = |place: usize| !(place / 441).is_multiple_of(3) && (place * 7919) % 401 < 3;
            let marks: Vec<bool> = (0..6 * 441).map(right).collect();
            let gold = Tensor::<4, Bool>::from_data(TensorData::new(marks, [3, 2, 21, 21]), &device);
            let single = |x: &Tensor<3>| x.clone().detach().cast(burn::tensor::DType::F32).detach().require_grad();
            let narrow = [single(&start), single(&inside), single(&end)];
            let narrow_none = none.clone().detach().cast(burn::tensor::DType::F32).detach().require_grad();
            let loss = |[start, inside, end]: [Tensor<3>; 3], none: Tensor<2>| {
                let weight = Tensor::<2>::from_floats([[1.0, 2.0], [0.5, 0.0], [3.0, 1.0]], &device).cast(none.dtype());
                SpanLoss { longest }.forward(SpanScores { start, inside, end, none }, &lengths, gold.clone(), weight)
            };
            let wide = [start, inside, end];
            let [exact, found] = [loss(wide.clone(), none.clone()), loss(narrow.clone(), narrow_none.clone())];
            let near = |what: &str, found: Vec<f64>, exact: Vec<f64>| {
                let worst = found.iter().zip(&exact).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
                assert!(found.len() == exact.len() && worst < 1e-5, "case {case}, {what}: {worst}");
            };
            near("fields", values(found.per_field), values(exact.per_field));
            let (exact, found) = (exact.loss.backward(), found.loss.backward());
            for (one, other) in narrow.iter().zip(&wide) {
                near("words", values(one.grad(&found).expect("tracked")), values(other.grad(&exact).expect("tracked")));
            }
            near(
                "none",
                values(narrow_none.grad(&found).expect("tracked")),
                values(none.grad(&exact).expect("tracked")),
            );
        }
    }
}
