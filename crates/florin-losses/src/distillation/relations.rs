//! Distillation of relations: how far samples lie apart, and at which angles, whatever the space they lie in.
//!
//! `distance = mean_{i≠j} huber(|sᵢ − sⱼ| / μ_s, |tᵢ − tⱼ| / μ_t)`, μ the mean distance of a batch, and
//! `angle = mean huber(cos ∠sᵢsⱼsₖ, cos ∠tᵢtⱼtₖ)` over all triples of different samples; `loss = 25 distance + 50 angle`.
//!
//! Paper: Park et al. 2019 (RKD), <https://arxiv.org/abs/1904.05068>
//! Difference: means over pairs and triples of different samples, where the paper writes sums and the authors' code divides by batch² and batch³,
//! counting those that are zero by definition.

use burn::prelude::*;
use florin_backend::{Counting, angle_cosines, distances, huber_differences};

use crate::LossError;
use crate::error::check;

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct RelationDistillation {
    /// What distances weigh.
    pub distance: f64,
    /// What angles weigh; at zero they are not computed, which saves memory of batch³.
    pub angle: f64,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct RelationDistillationParts {
    /// What is minimised, `[1]`.
    pub loss: Tensor<1>,
    /// Of distances, `[1]`, unweighted; zero for fewer than two samples.
    pub distance: Tensor<1>,
    /// Of angles, `[1]`, unweighted; zero for fewer than three samples.
    pub angle: Tensor<1>,
}

impl Default for RelationDistillation {
    fn default() -> Self {
        Self { distance: 25.0, angle: 50.0 }
    }
}

impl RelationDistillation {
    /// Refuses weights that cannot be meant.
    pub fn validate(&self) -> Result<(), LossError> {
        check("distance", self.distance, "zero or more", |value| value >= 0.0)?;
        check("angle", self.angle, "zero or more", |value| value >= 0.0)
    }

    /// # Shapes
    ///
    /// - student: `[batch, student_dim]`
    /// - teacher: `[batch, teacher_dim]`, of another size or the same; it gets no gradient
    ///
    /// # Panics
    ///
    /// If the batches differ.
    pub fn forward(&self, student: Tensor<2>, teacher: Tensor<2>) -> RelationDistillationParts {
        let [batch, _] = student.dims();
        assert_eq!(teacher.dims()[0], batch, "student and teacher must see the same samples");
        let sides = [student, teacher.detach()];
        let pairs = (batch * batch.saturating_sub(1)).max(1);
        let triples = (pairs * batch.saturating_sub(2)).max(1);
        let all = Counting::rows(Tensor::full([batch], true, &sides[0].device()));
        let [student, teacher] = sides.clone().map(scaled_distances);
        let gaps = huber_differences(student, teacher, all.clone());
        let distance = gaps.sum() / pairs as f64;
        let angle = if self.angle > 0.0 {
            let [student, teacher] = sides.map(|x| angle_cosines(x).reshape([batch, batch * batch]));
            huber_differences(student, teacher, all).sum() / triples as f64
        } else {
            distance.zeros_like()
        };
        let loss = distance.clone() * self.distance + angle.clone() * self.angle;
        RelationDistillationParts { loss, distance, angle }
    }
}

/// Distances over their mean, `[batch, batch]`; zero where all samples are the same.
fn scaled_distances(x: Tensor<2>) -> Tensor<2> {
    let [batch, _] = x.dims();
    let lengths = distances(x);
    let pairs = (batch * batch.saturating_sub(1)).max(1) as f64;
    let mean = lengths.clone().sum() / pairs;
    lengths / mean.clamp_min(1e-12).unsqueeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use florin_backend::product;

    use crate::checking::{device, double, gradient, noise, number, single, slopes, values};

    fn distilled(student: Tensor<2>, teacher: Tensor<2>) -> RelationDistillationParts {
        RelationDistillation::default().forward(student, teacher)
    }

    #[test]
    fn distances_and_angles_are_the_hand_worked_ones() {
        let device = device();
        // Distances 3, 4 and 5, with a right angle at the first sample; the teacher's lie on a line, 1, 1 and 2 apart.
        let student = single([3, 2], &[0.0, 0.0, 3.0, 0.0, 0.0, 4.0], &device);
        let teacher = single([3, 1], &[0.0, 1.0, -1.0], &device);
        let parts = distilled(student, teacher);
        let gap = |one: f64, other: f64| (one / 4.0 - other / (4.0 / 3.0)).powi(2) / 2.0;
        let distance = (gap(3.0, 1.0) + gap(4.0, 1.0) + gap(5.0, 2.0)) / 3.0;
        assert!((number(parts.distance.clone()) - distance).abs() < 1e-6);
        // The student's cosines are 0, 3/5 and 4/5, the teacher's −1, 1 and 1.
        let angle = (0.5 + 0.4f64.powi(2) / 2.0 + 0.2f64.powi(2) / 2.0) / 3.0;
        assert!((number(parts.angle.clone()) - angle).abs() < 1e-6);
        assert!((number(parts.loss) - 25.0 * distance - 50.0 * angle).abs() < 1e-5);
    }

    #[test]
    fn gaps_are_squared_up_to_one_and_counted_as_they_are_beyond() {
        let gaps: Tensor<2> = single([4, 1], &[0.5, -1.0, 3.0, -10.0], &device());
        let all = Counting::rows(Tensor::full([4], true, &gaps.device()));
        let found = values(huber_differences(gaps.clone(), gaps.zeros_like(), all));
        assert_eq!(found, [0.125, 0.5, 2.5, 9.5]);
    }

    #[test]
    fn a_student_turned_and_scaled_has_nothing_to_learn_and_the_teacher_never_learns() {
        let device = device();
        let teacher: Tensor<2> = single([5, 2], &noise(1, 10), &device);
        let turn: Tensor<2> = single([2, 2], &[0.6, 0.8, -0.8, 0.6], &device);
        let student = product(teacher.clone(), turn) * 7.0;
        let of = |x: Tensor<2>| distilled(x, teacher.clone()).loss;
        assert!(number(of(student.clone())).abs() < 1e-6);
        assert!(gradient(&student, &of).iter().all(|g| g.abs() < 1e-4));
        let teacher = teacher.clone().require_grad();
        let student = single([5, 2], &noise(2, 10), &device).require_grad();
        let graph = distilled(student, teacher.clone()).loss.backward();
        assert!(teacher.grad(&graph).is_none_or(|g| values(g).iter().all(|&g| g == 0.0)));
    }

    #[test]
    fn the_same_sample_twice_and_batches_too_small_for_relations_stay_numbers() {
        let device = device();
        let numbers = [0.5, -1.0, 0.5, -1.0, 2.0, 1.0];
        let teacher: Tensor<2> = single([3, 2], &noise(4, 6), &device);
        for rows in 1..=3 {
            let student = single([rows, 2], &numbers[..2 * rows], &device);
            let teacher = teacher.clone().narrow(0, 0, rows);
            let of = |x: Tensor<2>| distilled(x, teacher.clone()).loss;
            assert!(number(of(student.clone())).is_finite(), "{rows} samples");
            assert!(gradient(&student, &of).iter().all(|g| g.is_finite()), "{rows} samples");
        }
        assert_eq!(number(distilled(single([1, 2], &[1.0, 2.0], &device), teacher.narrow(0, 0, 1)).loss), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_order_of_samples_does_not_matter(seed in any::<u64>()) {
            let device = device();
            let (student, teacher) = (single([4, 3], &noise(seed, 12), &device), single([4, 2], &noise(!seed, 8), &device));
            let one = number(distilled(student.clone(), teacher.clone()).loss);
            let other = number(distilled(student.flip([0]), teacher.flip([0])).loss);
            prop_assert!((one - other).abs() < 1e-4 * one.max(1.0));
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let teacher = double([4, 2], &noise(!seed, 8), &device());
            slopes([4, 3], &noise(seed, 12), &|x: Tensor<2>| distilled(x, teacher.clone()).loss / 75.0)?;
        }

        #[test]
        fn embeddings_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large: Vec<f64> = noise(seed, 12).iter().map(|x| x * 1e4).collect();
            let (student, teacher) = (single([4, 3], &large, &device), single([4, 2], &noise(!seed, 8), &device));
            let of = |x: Tensor<2>| distilled(x, teacher.clone()).loss;
            prop_assert!(number(of(student.clone())).is_finite());
            prop_assert!(gradient(&student, &of).iter().all(|g| g.is_finite()));
        }
    }
}
