//! Distillation of logits: the teacher's softened distribution beside the labels.
//!
//! `loss = α T² KL(p_teacher^T ‖ p_student^T) + (1 − α) CE(labels)`, p^T the softmax of logits divided by T. Softening divides gradients by T², which
//! the factor undoes, so that α means the same at every temperature.
//!
//! Paper: Hinton et al. 2015, <https://arxiv.org/abs/1503.02531>
//! Difference: none. AutoMM leaves T² out; open_clip takes the soft cross-entropy, which has the same gradient and another value.

use burn::prelude::*;

use florin_backend::{Counting, divergences};

use crate::LossError;
use crate::counting::counted;
use crate::error::check;
use crate::token_costs::{TokenTargets, token_costs};

/// Rows of the labels' softmax that exist at a time.
const CHUNK: usize = 1024;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct LogitDistillation {
    /// T: how far both distributions are softened.
    pub temperature: f64,
    /// α: the teacher's share, in [0, 1].
    pub alpha: f64,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct LogitDistillationParts {
    /// What is minimised, `[1]`; zero where nothing counts.
    pub loss: Tensor<1>,
    /// T² times the divergence from the teacher, `[1]`.
    pub soft: Tensor<1>,
    /// Cross-entropy of the labels, `[1]`.
    pub hard: Tensor<1>,
}

impl Default for LogitDistillation {
    fn default() -> Self {
        Self { temperature: 2.0, alpha: 0.5 }
    }
}

impl LogitDistillation {
    /// Refuses settings that cannot be meant.
    pub fn validate(&self) -> Result<(), LossError> {
        check("temperature", self.temperature, "above zero", |value| value > 0.0)?;
        check("alpha", self.alpha, "from 0 to 1", |value| (0.0..=1.0).contains(&value))
    }

    /// # Shapes
    ///
    /// - student, teacher: `[rows, classes]`, logits
    /// - labels: `[rows]`; where a row is not labelled, anything
    /// - labelled: `[rows]`; the teacher speaks on every row of `counts`, labelled or not
    /// - counts: `[rows]`, false for padding, which has no effect
    ///
    /// # Panics
    ///
    /// If teacher and student do not have the same classes.
    pub fn forward(
        &self,
        student: Tensor<2>,
        teacher: Tensor<2>,
        labels: Tensor<1, Int>,
        labelled: Tensor<1, Bool>,
        counts: Tensor<1, Bool>,
    ) -> LogitDistillationParts {
        let soft = self.soft(student.clone(), teacher, counts);
        let targets = TokenTargets { ids: labels, counts: labelled.clone(), smoothing: 0.0 };
        let hard = token_costs(student, targets, CHUNK);
        let hard = counted(hard.unsqueeze_dim::<2>(0), labelled.unsqueeze_dim::<2>(0)).mean;
        LogitDistillationParts { loss: soft.clone() * self.alpha + hard.clone() * (1.0 - self.alpha), soft, hard }
    }

    /// The teacher's part alone, `T² KL`, `[1]`.
    ///
    /// # Shapes
    ///
    /// - student, teacher: `[rows, classes]`, logits
    /// - counts: `[rows]`
    ///
    /// # Panics
    ///
    /// If teacher and student do not have the same classes.
    pub fn soft(&self, student: Tensor<2>, teacher: Tensor<2>, counts: Tensor<1, Bool>) -> Tensor<1> {
        assert_eq!(student.dims(), teacher.dims(), "student and teacher must have the same rows and classes");
        let costs = divergences(teacher, student, self.temperature, Counting::rows(counts.clone()));
        let mean = counted(costs.unsqueeze_dim::<2>(0), counts.unsqueeze_dim::<2>(0)).mean;
        mean * (self.temperature * self.temperature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values, whole};

    const COUNTS: [bool; 3] = [true, true, false];
    const LABELLED: [bool; 3] = [false, true, false];

    fn distilled(settings: LogitDistillation, student: Tensor<2>, teacher: Tensor<2>) -> LogitDistillationParts {
        let device = student.device();
        let labels = whole([3], &[9, 2, 0], &device);
        settings.forward(student, teacher, labels, marks([3], &LABELLED, &device), marks([3], &COUNTS, &device))
    }

    const SETTINGS: LogitDistillation = LogitDistillation { temperature: 3.0, alpha: 0.7 };

    #[test]
    fn the_parts_are_weighed_by_alpha_and_by_the_square_of_the_temperature() {
        let device = device();
        let (student, teacher) = ([0.0, 1.0], [2.0, -1.0]);
        let one = marks([1], &[true], &device);
        let [logits, other] = [student, teacher].map(|x| single([1, 2], &x, &device));
        let parts = SETTINGS.forward(logits, other, whole([1], &[0], &device), one.clone(), one);
        let share = |x: [f64; 2], t: f64| 1.0 / (1.0 + ((x[1] - x[0]) / t).exp());
        let (p, q) = (share(teacher, 3.0), share(student, 3.0));
        let soft = 9.0 * (p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln());
        let hard = -share(student, 1.0).ln();
        assert!((number(parts.soft) - soft).abs() < 1e-5);
        assert!((number(parts.hard) - hard).abs() < 1e-5);
        assert!((number(parts.loss) - (0.7 * soft + 0.3 * hard)).abs() < 1e-5);
    }

    #[test]
    fn a_student_like_its_teacher_has_nothing_to_learn_from_it_and_the_teacher_never_learns() {
        let device = device();
        let logits: Tensor<2> = single([3, 4], &noise(1, 12), &device);
        let counts = marks([3], &COUNTS, &device);
        let of = |x: Tensor<2>| SETTINGS.soft(x, logits.clone(), counts.clone());
        assert!(number(of(logits.clone())).abs() < 1e-6);
        assert!(gradient(&logits, &of).iter().all(|g| g.abs() < 1e-6));
        let teacher = logits.clone().require_grad();
        let student = single([3, 4], &noise(2, 12), &device).require_grad();
        let graph = distilled(SETTINGS, student.clone(), teacher.clone()).loss.backward();
        assert!(student.grad(&graph).is_some());
        assert!(teacher.grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
    }

    #[test]
    fn rows_that_are_all_padding_cost_nothing() {
        let device = device();
        let none = marks([3], &[false; 3], &device);
        let x: Tensor<2> = single([3, 4], &noise(1, 12), &device);
        let of = |x: Tensor<2>| {
            SETTINGS.forward(x.clone(), x.clone() + 1.0, whole([3], &[0; 3], &device), none.clone(), none.clone()).loss
        };
        assert_eq!(number(of(x.clone())), 0.0);
        assert!(gradient(&x, &of).iter().all(|&g| g == 0.0));
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        assert!(LogitDistillation::default().validate().is_ok());
        for (temperature, alpha) in [(0.0, 0.5), (f64::NAN, 0.5), (2.0, 1.5), (2.0, -0.1)] {
            assert!(LogitDistillation { temperature, alpha }.validate().is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn padding_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>()) {
            let device = device();
            let [student, teacher] = [0, 1].map(|of| noise(seed ^ of, 12));
            let spoiled = |x: &[f64]| [&x[..8], &[f64::NAN; 4]].concat();
            let tensor = |x: &[f64]| single([3, 4], x, &device);
            let of = |teacher: Tensor<2>| move |x: Tensor<2>| distilled(SETTINGS, x, teacher.clone()).loss;
            let (good, bad) = (of(tensor(&teacher)), of(tensor(&spoiled(&teacher))));
            prop_assert_eq!(number(good(tensor(&student))), number(bad(tensor(&spoiled(&student)))));
            prop_assert_eq!(gradient(&tensor(&student), &good), gradient(&tensor(&spoiled(&student)), &bad));
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let teacher = double([3, 4], &noise(seed ^ 1, 12), &device());
            slopes([3, 4], &noise(seed, 12), &|x: Tensor<2>| distilled(SETTINGS, x * 3.0, teacher.clone()).loss)?;
        }

        #[test]
        fn logits_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large = |seed| {
                let numbers: Vec<f64> = noise(seed, 12).iter().map(|x| x.signum() * 1e4).collect();
                single([3, 4], &numbers, &device)
            };
            let (student, teacher) = (large(seed), large(seed ^ 1));
            let of = |x: Tensor<2>| distilled(SETTINGS, x, teacher.clone()).loss;
            prop_assert!(number(of(student.clone())).is_finite());
            prop_assert!(gradient(&student, &of).iter().all(|g| g.is_finite()));
        }
    }
}
