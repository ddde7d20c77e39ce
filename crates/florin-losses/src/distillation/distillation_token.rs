//! DeiT's distillation token: a second head of the student that answers to the teacher, while the first answers to the labels.
//!
//! Hard: `(1 − α) CE(class head, label) + α CE(token head, argmax teacher)`, α = ½. Soft: the second term is
//! `T² Σ KL(teacher^T ‖ token head^T) / (rows · classes)`. At inference the heads are averaged.
//!
//! Paper: Touvron et al. 2020 (DeiT), <https://arxiv.org/abs/2012.12877>
//! Difference: none from the authors' code, which divides the soft form by the number of elements; the paper writes a mean over rows.

use burn::prelude::*;

use florin_backend::{Counting, divergences};

use crate::LossError;
use crate::counting::counted;
use crate::error::check;
use crate::token_costs::{TokenTargets, token_costs};

/// Rows of a softmax that exist at a time.
const CHUNK: usize = 1024;

/// What of the teacher the second head learns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum TeacherAnswer {
    /// Its most likely class, as a label: the paper's better form.
    #[default]
    Hard,
    /// Its softened distribution.
    Soft {
        /// T.
        temperature: f64,
    },
}

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct TokenDistillation {
    /// What is learned.
    pub answer: TeacherAnswer,
    /// α: the teacher's share, in [0, 1].
    pub alpha: f64,
}

/// Logits of the student's two heads and of the teacher.
#[derive(Clone, Debug)]
pub struct TokenLogits {
    /// Of the class token, `[rows, classes]`.
    pub class: Tensor<2>,
    /// Of the distillation token, `[rows, classes]`.
    pub token: Tensor<2>,
    /// Of the teacher, `[rows, classes]`; they get no gradient.
    pub teacher: Tensor<2>,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct TokenDistillationParts {
    /// What is minimised, `[1]`; zero where nothing counts.
    pub loss: Tensor<1>,
    /// Of the class head, `[1]`.
    pub class: Tensor<1>,
    /// Of the distillation head, `[1]`.
    pub token: Tensor<1>,
}

impl Default for TokenDistillation {
    fn default() -> Self {
        Self { answer: TeacherAnswer::Hard, alpha: 0.5 }
    }
}

impl TokenDistillation {
    /// Refuses settings that cannot be meant.
    pub fn validate(&self) -> Result<(), LossError> {
        if let TeacherAnswer::Soft { temperature } = self.answer {
            check("temperature", temperature, "above zero", |value| value > 0.0)?;
        }
        check("alpha", self.alpha, "from 0 to 1", |value| (0.0..=1.0).contains(&value))
    }

    /// # Shapes
    ///
    /// - logits: see [`TokenLogits`]
    /// - labels: `[rows]`
    /// - counts: `[rows]`, false for padding, which has no effect
    ///
    /// # Panics
    ///
    /// If heads and teacher do not have the same rows and classes.
    pub fn forward(
        &self,
        logits: TokenLogits,
        labels: Tensor<1, Int>,
        counts: Tensor<1, Bool>,
    ) -> TokenDistillationParts {
        let TokenLogits { class, token, teacher } = logits;
        assert_eq!(class.dims(), token.dims(), "both heads must have the same rows and classes");
        assert_eq!(class.dims(), teacher.dims(), "student and teacher must have the same rows and classes");
        let class = cross_entropy(class, labels, counts.clone());
        let token = match self.answer {
            TeacherAnswer::Hard => {
                let [rows, _] = teacher.dims();
                let answers = teacher.detach().argmax(1).reshape([rows]);
                cross_entropy(token, answers, counts)
            }
            TeacherAnswer::Soft { temperature } => soft(token, teacher, temperature, counts),
        };
        TokenDistillationParts { loss: class.clone() * (1.0 - self.alpha) + token.clone() * self.alpha, class, token }
    }
}

/// What the student answers: the mean of both heads' logits.
///
/// # Shapes
///
/// - class, token, output: `[rows, classes]`
pub fn averaged_heads(class: Tensor<2>, token: Tensor<2>) -> Tensor<2> {
    (class + token) / 2.0
}

/// The mean over the rows that count, `[1]`.
fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, counts: Tensor<1, Bool>) -> Tensor<1> {
    let targets = TokenTargets { ids: labels, counts: counts.clone(), smoothing: 0.0 };
    counted(token_costs(logits, targets, CHUNK).unsqueeze_dim::<2>(0), counts.unsqueeze_dim::<2>(0)).mean
}

/// The divergence over the number of elements, times T², `[1]`.
fn soft(token: Tensor<2>, teacher: Tensor<2>, temperature: f64, counts: Tensor<1, Bool>) -> Tensor<1> {
    let [_, classes] = token.dims();
    let costs = divergences(teacher, token, temperature, Counting::rows(counts.clone()));
    let mean = counted(costs.unsqueeze_dim::<2>(0), counts.unsqueeze_dim::<2>(0)).mean;
    mean * (temperature * temperature / classes as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values, whole};

    const ANSWERS: [TeacherAnswer; 2] = [TeacherAnswer::Hard, TeacherAnswer::Soft { temperature: 3.0 }];
    const COUNTS: [bool; 3] = [true, true, false];

    /// The heads' logits are the two halves of `[2, 3, 4]`.
    fn distilled(
        answer: TeacherAnswer,
        heads: Tensor<3>,
        teacher: Tensor<2>,
        counts: &[bool],
    ) -> TokenDistillationParts {
        let device = heads.device();
        let head = |index| heads.clone().narrow(0, index, 1).reshape([3, 4]);
        let logits = TokenLogits { class: head(0), token: head(1), teacher };
        let labels = whole([3], &[2, 0, 3], &device);
        TokenDistillation { answer, alpha: 0.3 }.forward(logits, labels, marks([3], counts, &device))
    }

    #[test]
    fn each_head_answers_to_its_own() {
        let device = device();
        let sure = |classes: [usize; 3]| {
            classes
                .iter()
                .flat_map(|&class| (0..4).map(move |i| if i == class { 1e4 } else { 0.0 }))
                .collect::<Vec<f64>>()
        };
        let heads = |class, token| single([2, 3, 4], &[sure(class), sure(token)].concat(), &device);
        let teacher = single([3, 4], &sure([1, 1, 1]), &device);
        // Labels are 2, 0, 3; the last row does not count.
        let right = distilled(TeacherAnswer::Hard, heads([2, 0, 0], [1, 1, 0]), teacher.clone(), &COUNTS);
        assert_eq!((number(right.loss), number(right.class), number(right.token)), (0.0, 0.0, 0.0));
        let own = distilled(TeacherAnswer::Hard, heads([2, 0, 0], [3, 3, 0]), teacher, &COUNTS);
        assert_eq!(number(own.class), 0.0);
        assert!((number(own.token.clone()) - 1e4).abs() < 1.0, "the token head is asked for the teacher's answer");
        assert!((number(own.loss) - 0.3 * number(own.token)).abs() < 1.0);
    }

    #[test]
    fn the_soft_form_divides_by_the_number_of_elements() {
        let device = device();
        let heads = single([2, 3, 4], &noise(1, 24), &device);
        let teacher: Tensor<2> = single([3, 4], &noise(2, 12), &device);
        let soft =
            distilled(TeacherAnswer::Soft { temperature: 3.0 }, heads.clone(), teacher.clone(), &[true; 3]).token;
        let token = heads.narrow(0, 1, 1).reshape([3, 4]);
        let all = Counting::rows(marks([3], &[true; 3], &device));
        let costs = values(divergences(teacher / 3.0, token / 3.0, 1.0, all));
        assert!((number(soft) - 9.0 * costs.iter().sum::<f64>() / 12.0).abs() < 1e-6);
    }

    #[test]
    fn the_teacher_never_learns_and_padding_alone_costs_nothing() {
        let device = device();
        for answer in ANSWERS {
            let heads = single([2, 3, 4], &noise(1, 24), &device).require_grad();
            let teacher = single([3, 4], &noise(2, 12), &device).require_grad();
            let graph = distilled(answer, heads, teacher.clone(), &COUNTS).loss.backward();
            assert!(teacher.grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
            let of = |x: Tensor<3>| distilled(answer, x, teacher.clone(), &[false; 3]).loss;
            let heads = single([2, 3, 4], &noise(3, 24), &device);
            assert_eq!(number(of(heads.clone())), 0.0);
            assert!(gradient(&heads, &of).iter().all(|&g| g == 0.0));
        }
    }

    #[test]
    fn the_answer_is_the_mean_of_both_heads() {
        let device = device();
        let mean = averaged_heads(single([1, 2], &[1.0, 2.0], &device), single([1, 2], &[3.0, -2.0], &device));
        assert_eq!(values(mean), [2.0, 0.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn padding_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>()) {
            let device = device();
            let (heads, teacher) = (noise(seed, 24), noise(seed ^ 1, 12));
            let spoiled = |x: &[f64]| {
                x.iter().enumerate().map(|(i, &x)| if i % 12 >= 8 { f64::NAN } else { x }).collect::<Vec<_>>()
            };
            for answer in ANSWERS {
                let of = |x: Tensor<3>, teacher: &[f64]| {
                    distilled(answer, x, single([3, 4], teacher, &device), &COUNTS).loss
                };
                let (good, bad) = (single([2, 3, 4], &heads, &device), single([2, 3, 4], &spoiled(&heads), &device));
                let other = spoiled(&teacher);
                prop_assert_eq!(number(of(good.clone(), &teacher)), number(of(bad.clone(), &other)));
                let (one, two) = (gradient(&good, &|x| of(x, &teacher)), gradient(&bad, &|x| of(x, &other)));
                prop_assert_eq!(one, two);
            }
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let teacher = double([3, 4], &noise(seed ^ 1, 12), &device());
            for answer in ANSWERS {
                slopes([2, 3, 4], &noise(seed, 24), &|x: Tensor<3>| {
                    distilled(answer, x * 2.0, teacher.clone(), &COUNTS).loss
                })?;
            }
        }
    }
}
