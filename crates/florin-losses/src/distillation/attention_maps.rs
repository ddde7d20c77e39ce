//! Distillation of attention: which positions the student looks at.
//!
//! On scores before the softmax, `mean (s − t)²` over heads, queries and keys; on the maps that the softmax makes of them, `mean KL(t ‖ s)` over heads and
//! queries. Hidden keys take no part in either.
//!
//! Paper: Jiao et al. 2019 (TinyBERT), <https://arxiv.org/abs/1909.10351>
//! Difference: hidden positions are left out of the mean; the authors' code sets them to zero on both sides and counts them.
//! Paper: Wang et al. 2020 (MiniLM), <https://arxiv.org/abs/2002.10957>
//! Difference: none; its relation of values is the same loss on their scaled products.

use burn::prelude::*;

use florin_backend::{Counting, divergences, squared_differences};

use crate::counting::counted;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionTarget {
    /// Scores before the softmax, by squares: TinyBERT.
    #[default]
    Scores,
    /// The distributions after it, by divergence: MiniLM.
    Maps,
}

/// The loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionDistillation {
    /// What is compared.
    pub target: AttentionTarget,
}

/// Scores of one layer, already scaled, before mask and softmax.
#[derive(Clone, Debug)]
pub struct AttentionScores {
    /// `[batch, heads, queries, keys]`
    pub student: Tensor<4>,
    /// `[batch, heads, queries, keys]`; it gets no gradient.
    pub teacher: Tensor<4>,
}

impl AttentionDistillation {
    /// The mean, `[1]`; zero where nothing counts.
    ///
    /// # Shapes
    ///
    /// - scores: see [`AttentionScores`]
    /// - queries: `[batch, queries]`, keys: `[batch, keys]`, false for padding, which has no effect
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other; heads that differ in number need a choice of which to compare.
    pub fn forward(&self, scores: AttentionScores, queries: Tensor<2, Bool>, keys: Tensor<2, Bool>) -> Tensor<1> {
        let AttentionScores { student, teacher } = scores;
        let [batch, heads, from, to] = student.dims();
        assert_eq!(teacher.dims(), student.dims(), "student and teacher must have the same heads and positions");
        assert_eq!((queries.dims(), keys.dims()), ([batch, from], [batch, to]), "one mark a query and a key");
        let rows = batch * heads * from;
        // Detached before anything is done with it: what Burn notes of that would stay, as nothing ever goes back through it.
        let (student, teacher) = (student.reshape([rows, to]), teacher.detach().reshape([rows, to]));
        let asked = queries.clone().unsqueeze_dim::<3>(1).expand([batch, heads, from]);
        let counting = Counting { rows: asked.clone().reshape([rows]), columns: Some(keys.clone()) };
        match self.target {
            AttentionTarget::Scores => {
                let number = |marks: Tensor<2, Bool>| marks.float().cast(student.dtype()).sum_dim(1);
                let compared = (number(queries) * number(keys)).sum() * heads as f64;
                squared_differences(student, teacher, counting).sum() / compared.clamp_min(1.0)
            }
            AttentionTarget::Maps => {
                let costs = divergences(teacher, student, 1.0, counting).reshape([batch * heads, from]);
                counted(costs, asked.reshape([batch * heads, from])).mean
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values};

    const TARGETS: [AttentionTarget; 2] = [AttentionTarget::Scores, AttentionTarget::Maps];
    const KEPT: [bool; 6] = [true, true, true, true, true, false];
    const SHAPE: [usize; 4] = [2, 2, 3, 3];

    /// Two texts of three tokens, the second one shorter; two heads.
    fn distilled(target: AttentionTarget, student: Tensor<4>, teacher: Tensor<4>, kept: &[bool]) -> Tensor<1> {
        let kept = marks([2, 3], kept, &student.device());
        AttentionDistillation { target }.forward(AttentionScores { student, teacher }, kept.clone(), kept)
    }

    #[test]
    fn scores_are_compared_by_squares_and_maps_by_divergence_from_the_teacher() {
        let device = device();
        let (student, teacher) =
            (single([1, 1, 1, 2], &[0.0, 1.0], &device), single([1, 1, 1, 2], &[2.0, 0.5], &device));
        let loss = |target| {
            let scores = AttentionScores { student: student.clone(), teacher: teacher.clone() };
            let (queries, keys) = (marks([1, 1], &[true], &device), marks([1, 2], &[true, true], &device));
            number(AttentionDistillation { target }.forward(scores, queries, keys))
        };
        assert!((loss(AttentionTarget::Scores) - (4.0 + 0.25) / 2.0).abs() < 1e-6);
        let (p, q) = (1.0 / (1.0 + (-1.5f64).exp()), 1.0 / (1.0 + 1f64.exp()));
        let divergence = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((loss(AttentionTarget::Maps) - divergence).abs() < 1e-6);
    }

    #[test]
    fn a_student_like_its_teacher_costs_nothing_and_the_teacher_never_learns() {
        let device = device();
        for target in TARGETS {
            let x: Tensor<4> = single(SHAPE, &noise(1, 36), &device);
            let same = |student: Tensor<4>| distilled(target, student, x.clone(), &KEPT);
            assert!(number(same(x.clone())).abs() < 1e-6);
            assert!(gradient(&x, &same).iter().all(|g| g.abs() < 1e-6));
            let teacher = x.clone().require_grad();
            let student = single(SHAPE, &noise(2, 36), &device).require_grad();
            let graph = distilled(target, student, teacher.clone(), &KEPT).backward();
            assert!(teacher.grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
        }
    }

    #[test]
    fn a_padded_text_costs_what_it_costs_alone() {
        let device = device();
        let [student, teacher] = [1, 2].map(|seed| single::<4>([1, 2, 3, 3], &noise(seed, 18), &device));
        let cut = |x: &Tensor<4>| x.clone().narrow(2, 0, 2).narrow(3, 0, 2);
        for target in TARGETS {
            let loss = |student: Tensor<4>, teacher: Tensor<4>, kept: &[bool]| {
                let kept = marks([1, kept.len()], kept, &device);
                let scores = AttentionScores { student, teacher };
                number(AttentionDistillation { target }.forward(scores, kept.clone(), kept))
            };
            let padded = loss(student.clone(), teacher.clone(), &[true, true, false]);
            assert!((padded - loss(cut(&student), cut(&teacher), &[true; 2])).abs() < 1e-6, "{target:?}");
        }
    }

    #[test]
    fn texts_that_are_all_padding_cost_nothing() {
        let device = device();
        let x: Tensor<4> = single(SHAPE, &noise(1, 36), &device);
        for target in TARGETS {
            let of = |student: Tensor<4>| distilled(target, student, x.clone().flip([0]), &[false; 6]);
            assert_eq!(number(of(x.clone())), 0.0);
            assert!(gradient(&x, &of).iter().all(|&g| g == 0.0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn padding_has_no_effect_not_even_when_it_is_no_number(seed in any::<u64>()) {
            let device = device();
            let [student, teacher] = [0, 1].map(|of| noise(seed ^ of, 36));
            // Of the second text, the last query's row and the last key's column.
            let padded = |i: usize| i >= 18 && (i % 9 / 3 == 2 || i % 3 == 2);
            let spoiled = |x: &[f64]| {
                x.iter().enumerate().map(|(i, &x)| if padded(i) { f64::NAN } else { x }).collect::<Vec<_>>()
            };
            let tensor = |x: &[f64]| single(SHAPE, x, &device);
            for target in TARGETS {
                let of = |teacher: Tensor<4>| move |x: Tensor<4>| distilled(target, x, teacher.clone(), &KEPT);
                let (good, bad) = (of(tensor(&teacher)), of(tensor(&spoiled(&teacher))));
                prop_assert_eq!(number(good(tensor(&student))), number(bad(tensor(&spoiled(&student)))));
                prop_assert_eq!(gradient(&tensor(&student), &good), gradient(&tensor(&spoiled(&student)), &bad));
            }
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let teacher = double(SHAPE, &noise(seed ^ 1, 36), &device());
            for target in TARGETS {
                slopes(SHAPE, &noise(seed, 36), &|x: Tensor<4>| distilled(target, x * 2.0, teacher.clone(), &KEPT))?;
            }
        }

        #[test]
        fn scores_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large: Vec<f64> = noise(seed, 36).iter().map(|x| x.signum() * 1e4).collect();
            let student: Tensor<4> = single(SHAPE, &large, &device);
            for target in TARGETS {
                let of = |x: Tensor<4>| distilled(target, x, student.clone().flip([0]), &KEPT);
                prop_assert!(number(of(student.clone())).is_finite());
                prop_assert!(gradient(&student, &of).iter().all(|g| g.is_finite()));
            }
        }
    }
}
