//! Distillation of features: the student's hidden vectors, projected to the teacher's size where the sizes differ, beside the teacher's.
//!
//! `mean((P f_s − f_t)²)` over the numbers of the positions that count, as TinyBERT has it, or `mean(1 − cos(P f_s, f_t))`, as DistilBERT has it. P is
//! learned with the student and thrown away.
//!
//! Paper: Jiao et al. 2019 (TinyBERT), <https://arxiv.org/abs/1909.10351>
//! Difference: none; P has no bias, as in the paper.
//! Paper: Sanh et al. 2019 (DistilBERT), <https://arxiv.org/abs/1910.01108>
//! Difference: none.

use burn::prelude::*;
use florin_backend::{Counting, cosines, squared_differences};
use florin_nn::Linear;

use crate::counting::{blanked, counted};

/// How features are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureError {
    /// The mean square of differences.
    #[default]
    Square,
    /// One less the cosine: only directions count.
    Cosine,
}

/// The loss, with the projection that it learns.
#[derive(Module, Debug)]
pub struct FeatureDistillation {
    /// From the student's size to the teacher's; none where they are the same and no projection is wanted.
    pub projection: Option<Linear>,
    #[module(skip)]
    error: FeatureError,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct FeatureDistillationParts {
    /// Mean over all positions that count, `[1]`; zero where none does.
    pub loss: Tensor<1>,
    /// Mean over each row's positions, `[batch]`.
    pub per_row: Tensor<1>,
}

/// What PyTorch's cosine loss adds to each square length.
const EPSILON: f64 = 1e-12;

impl FeatureDistillation {
    /// Compares features of one size directly.
    pub fn direct(error: FeatureError) -> Self {
        Self { projection: None, error }
    }

    /// Projects the student's features first.
    pub fn projected(student_dim: usize, teacher_dim: usize, error: FeatureError, device: &Device) -> Self {
        Self { projection: Some(Linear::without_bias(student_dim, teacher_dim, device)), error }
    }

    /// # Shapes
    ///
    /// - student: `[batch, seq, student_dim]`
    /// - teacher: `[batch, seq, teacher_dim]`; it gets no gradient
    /// - counts: `[batch, seq]`, false for padding, which has no effect
    ///
    /// # Panics
    ///
    /// If the sizes differ after the projection.
    pub fn forward(&self, student: Tensor<3>, teacher: Tensor<3>, counts: Tensor<2, Bool>) -> FeatureDistillationParts {
        let here = counts.clone().unsqueeze_dim::<3>(2);
        let student = blanked(student, here);
        let student = match &self.projection {
            Some(projection) => projection.forward(student),
            None => student,
        };
        assert_eq!(student.dims(), teacher.dims(), "features of one size are compared: a projection is needed");
        let [batch, seq, dim] = student.dims();
        let [student, teacher] = [student, teacher.detach()].map(|x| x.reshape([batch * seq, dim]));
        let rows = counts.clone().reshape([batch * seq]);
        let costs = match self.error {
            FeatureError::Square => squared_differences(student, teacher, Counting::rows(rows)) / dim as f64,
            FeatureError::Cosine => cosines(student, teacher, rows, EPSILON).neg() + 1.0,
        };
        let means = counted(costs.reshape([batch, seq]), counts);
        FeatureDistillationParts { loss: means.mean, per_row: means.per_row }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values};

    const COUNTS: [bool; 4] = [true, true, true, false];
    const KINDS: [FeatureError; 2] = [FeatureError::Square, FeatureError::Cosine];

    fn distilled(error: FeatureError, student: Tensor<3>, teacher: Tensor<3>, counts: &[bool]) -> Tensor<1> {
        let [batch, seq, _] = student.dims();
        let counts = marks([batch, seq], counts, &student.device());
        FeatureDistillation::direct(error).forward(student, teacher, counts).loss
    }

    #[test]
    fn squares_are_averaged_over_numbers_and_cosines_over_positions() {
        let device = device();
        let (student, teacher) = ([1.0, 0.0, 3.0, 4.0], [1.0, 2.0, 6.0, 8.0]);
        let [student, teacher] = [student, teacher].map(|x| single([1, 2, 2], &x, &device));
        let square = distilled(FeatureError::Square, student.clone(), teacher.clone(), &[true, true]);
        assert!((number(square) - (4.0 / 2.0 + 25.0 / 2.0) / 2.0).abs() < 1e-6);
        let cosine = distilled(FeatureError::Cosine, student, teacher, &[true, true]);
        assert!((number(cosine) - (1.0 - 1.0 / 5f64.sqrt()) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_student_like_its_teacher_costs_nothing_and_the_teacher_never_learns() {
        let device = device();
        for error in KINDS {
            let x: Tensor<3> = single([2, 2, 3], &noise(1, 12), &device);
            let same = |student: Tensor<3>| distilled(error, student, x.clone(), &COUNTS);
            assert!(number(same(x.clone())).abs() < 1e-6);
            assert!(gradient(&x, &same).iter().all(|g| g.abs() < 1e-6));
            let teacher = x.clone().require_grad();
            let student = single([2, 2, 3], &noise(2, 12), &device).require_grad();
            let graph = distilled(error, student, teacher.clone(), &COUNTS).backward();
            assert!(teacher.grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
        }
    }

    #[test]
    fn a_projection_learns_and_bridges_sizes() {
        let device = device();
        florin_backend::seed(&device, 3);
        let loss = FeatureDistillation::projected(2, 3, FeatureError::Square, &device);
        let (student, teacher) = (single([2, 2, 2], &noise(1, 8), &device), single([2, 2, 3], &noise(2, 12), &device));
        let graph = loss.forward(student, teacher, marks([2, 2], &COUNTS, &device)).loss.backward();
        let projection = loss.projection.as_ref().expect("projected");
        assert!(projection.weight.val().grad(&graph).is_some_and(|g| values(g).iter().any(|&g| g != 0.0)));
    }

    #[test]
    fn padding_alone_costs_nothing() {
        let device = device();
        let x: Tensor<3> = single([2, 2, 3], &noise(1, 12), &device);
        for error in KINDS {
            let of = |student: Tensor<3>| distilled(error, student, x.clone() + 1.0, &[false; 4]);
            assert_eq!(number(of(x.clone())), 0.0);
            assert!(gradient(&x, &of).iter().all(|&g| g == 0.0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn padding_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>()) {
            let device = device();
            let [student, teacher] = [0, 1].map(|of| noise(seed ^ of, 12));
            let spoiled = |x: &[f64]| [&x[..9], &[f64::NAN; 3]].concat();
            let tensor = |x: &[f64]| single([2, 2, 3], x, &device);
            for error in KINDS {
                let of = |teacher: Tensor<3>| move |x: Tensor<3>| distilled(error, x, teacher.clone(), &COUNTS);
                let (good, bad) = (of(tensor(&teacher)), of(tensor(&spoiled(&teacher))));
                prop_assert_eq!(number(good(tensor(&student))), number(bad(tensor(&spoiled(&student)))));
                prop_assert_eq!(gradient(&tensor(&student), &good), gradient(&tensor(&spoiled(&student)), &bad));
            }
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let teacher = double([2, 2, 3], &noise(seed ^ 1, 12), &device());
            for error in KINDS {
                slopes([2, 2, 3], &noise(seed, 12), &|x: Tensor<3>| distilled(error, x, teacher.clone(), &COUNTS))?;
            }
        }

        #[test]
        fn features_of_ten_thousand_or_zero_stay_finite(seed in any::<u64>()) {
            let device = device();
            let mut large: Vec<f64> = noise(seed, 12).iter().map(|x| x.signum() * 1e4).collect();
            large[..3].fill(0.0);
            let student: Tensor<3> = single([2, 2, 3], &large, &device);
            for error in KINDS {
                let of = |x: Tensor<3>| distilled(error, x, student.clone().flip([0]), &COUNTS);
                prop_assert!(number(of(student.clone())).is_finite());
                prop_assert!(gradient(&student, &of).iter().all(|g| g.is_finite()));
            }
        }
    }
}
