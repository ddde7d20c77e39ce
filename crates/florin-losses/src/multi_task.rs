//! Several tasks' losses into one: each over its own labels, with equal weights or with weights that their uncertainty gives.
//!
//! `Lᵢ = Σ costs / labels of task i`, and nothing for a task without labels. By uncertainty, with s = ln σ²:
//! `½ e^{−s} L + ½ s` for a regression and `e^{−s} L + ½ s` for a classification. The total may go below zero.
//!
//! Paper: Kendall et al. 2017, <https://arxiv.org/abs/1705.07115>
//! Difference: none. s is learned rather than σ, as the paper advises; it must have no weight decay.

use burn::module::Param;
use burn::prelude::*;

use crate::counting::{blanked, counted};

/// The losses of several tasks on one batch.
#[derive(Clone, Debug)]
pub struct TaskLosses {
    /// Mean over each task's labels, `[tasks]`; zero for a task with none.
    pub means: Tensor<1>,
    /// Which tasks have a label, `[tasks]`.
    pub present: Tensor<1, Bool>,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct MultiTaskLossParts {
    /// What is minimised, `[1]`.
    pub loss: Tensor<1>,
    /// What each task adds to it, `[tasks]`; zero for a task without labels.
    pub per_task: Tensor<1>,
    /// What each task's loss is multiplied with, `[tasks]`, without gradient; zero for a task without labels.
    pub weights: Tensor<1>,
}

/// What a task predicts, which says what its uncertainty divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// A number, by squared error: `½ e^{−s} L`.
    Regression,
    /// A class, by cross-entropy: `e^{−s} L`.
    Classification,
}

/// Weights learned with the model, one logarithm of a variance a task.
#[derive(Module, Debug)]
pub struct UncertaintyWeights {
    /// s, `[tasks]`.
    pub log_variances: Param<Tensor<1>>,
    #[module(skip)]
    kinds: Vec<TaskKind>,
}

/// Beyond this |s| the weight no longer follows, so that e^{−s} stays far inside f32.
const MOST_LOG_VARIANCE: f64 = 60.0;

impl TaskLosses {
    /// Means of samples' costs; a task is not told apart from another by how many labels it has.
    ///
    /// # Shapes
    ///
    /// - costs: `[batch, tasks]`; where there is no label, anything
    /// - labelled: `[batch, tasks]`
    pub fn of_samples(costs: Tensor<2>, labelled: Tensor<2, Bool>) -> Self {
        let [_, tasks] = costs.dims();
        let means = counted(blanked(costs, labelled.clone()).transpose(), labelled.clone().transpose()).per_row;
        Self { means, present: labelled.any_dim(0).reshape([tasks]) }
    }

    /// Losses that all have labels, `[1]` each.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn of_means(means: Vec<Tensor<1>>) -> Self {
        let means = Tensor::cat(means, 0);
        let present = means.clone().detach().zeros_like().equal_elem(0.0);
        Self { means, present }
    }

    /// The sum with weights `[tasks]` that are given, such as those of [`GradNorm`](crate::GradNorm).
    pub fn weighted(self, weights: Tensor<1>) -> MultiTaskLossParts {
        let absent = self.present.bool_not();
        let weights = weights.detach().mask_fill(absent.clone(), 0.0);
        let per_task = self.means.mask_fill(absent, 0.0) * weights.clone();
        MultiTaskLossParts { loss: per_task.clone().sum(), per_task, weights }
    }

    /// The plain sum: a strong baseline.
    pub fn equal(self) -> MultiTaskLossParts {
        let ones = self.means.clone().detach().ones_like();
        self.weighted(ones)
    }
}

impl UncertaintyWeights {
    /// Every s zero: σ² is one.
    pub fn new(kinds: &[TaskKind], device: &Device) -> Self {
        Self { log_variances: Param::from_tensor(Tensor::zeros([kinds.len()], device)), kinds: kinds.to_vec() }
    }

    /// # Shapes
    ///
    /// - losses: see [`TaskLosses`]; a task without labels adds nothing, its s included
    ///
    /// # Panics
    ///
    /// If there are not as many losses as kinds.
    pub fn forward(&self, losses: TaskLosses) -> MultiTaskLossParts {
        let [tasks] = losses.means.dims();
        assert_eq!(tasks, self.kinds.len(), "one loss a task is needed");
        let absent = losses.present.bool_not();
        let s = self.log_variances.val();
        let share = |kind: &TaskKind| if *kind == TaskKind::Regression { 0.5f32 } else { 1.0 };
        let shares: Vec<f32> = self.kinds.iter().map(share).collect();
        let shares = Tensor::<1>::from_data(TensorData::new(shares, [tasks]), &s.device()).cast(s.dtype());
        let weights = s.clone().clamp(-MOST_LOG_VARIANCE, MOST_LOG_VARIANCE).neg().exp() * shares;
        let means = losses.means.mask_fill(absent.clone(), 0.0);
        let per_task = (weights.clone() * means + s * 0.5).mask_fill(absent.clone(), 0.0);
        MultiTaskLossParts { loss: per_task.clone().sum(), per_task, weights: weights.detach().mask_fill(absent, 0.0) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values};

    const KINDS: [TaskKind; 3] = [TaskKind::Regression, TaskKind::Classification, TaskKind::Regression];

    fn uncertain(s: Tensor<1>) -> UncertaintyWeights {
        UncertaintyWeights { log_variances: Param::initialized(burn::module::ParamId::new(), s), kinds: KINDS.to_vec() }
    }

    #[test]
    fn each_task_is_averaged_over_its_own_labels() {
        let device = device();
        let costs = single([3, 2], &[1.0, 8.0, 3.0, f64::NAN, f64::NAN, f64::NAN], &device);
        let labelled = marks([3, 2], &[true, true, true, false, false, false], &device);
        let parts = TaskLosses::of_samples(costs, labelled).equal();
        assert_eq!(values(parts.per_task), [2.0, 8.0]);
        assert_eq!(number(parts.loss), 10.0);
    }

    #[test]
    fn a_task_without_labels_adds_nothing_and_moves_nothing() {
        let device = device();
        let costs = single([2, 3], &[1.0, f64::NAN, 2.0, 3.0, f64::NAN, 4.0], &device);
        let labelled = marks([2, 3], &[true, false, true, true, false, true], &device);
        let s = single([3], &[0.3, -0.4, 0.1], &device);
        let total = |s: Tensor<1>| uncertain(s).forward(TaskLosses::of_samples(costs.clone(), labelled.clone())).loss;
        let expected = 0.5 * (-0.3f64).exp() * 2.0 + 0.15 + 0.5 * (-0.1f64).exp() * 3.0 + 0.05;
        assert!((number(total(s.clone())) - expected).abs() < 1e-6);
        assert_eq!(gradient(&s, &total)[1], 0.0);
        let losses = |x: Tensor<2>| uncertain(s.clone()).forward(TaskLosses::of_samples(x, labelled.clone())).loss;
        assert!(gradient(&costs, &losses).iter().all(|g| g.is_finite()));
    }

    #[test]
    fn regressions_and_classifications_weigh_by_their_own_form_and_the_total_may_be_negative() {
        let device = device();
        let losses = TaskLosses::of_means([2.0, 3.0, 0.0].map(|x| single([1], &[x], &device)).to_vec());
        let parts = uncertain(single([3], &[1.0, -1.0, -8.0], &device)).forward(losses);
        let expected = [(-1f64).exp() + 0.5, 3.0 * 1f64.exp() - 0.5, -4.0];
        for (found, expected) in values(parts.per_task).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
        }
        let alone = TaskLosses::of_means(vec![single([1], &[0.0], &device); 3]);
        assert!(number(uncertain(single([3], &[-1.0; 3], &device)).forward(alone).loss) < 0.0);
    }

    #[test]
    fn the_weight_settles_where_the_variance_is_the_loss() {
        let device = device();
        let losses = || TaskLosses::of_means([0.3, 2.0, 5.0].map(|x| single([1], &[x], &device)).to_vec());
        // For a regression s = ln L, for a classification s = ln 2L.
        let best = single([3], &[0.3f64.ln(), 4f64.ln(), 5f64.ln()], &device);
        let of = |s: Tensor<1>| uncertain(s).forward(losses()).loss;
        assert!(gradient(&best, &of).iter().all(|g| g.abs() < 1e-6));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            let device = device();
            let s = double([3], &noise(seed ^ 1, 3), &device);
            let labelled = marks([2, 3], &[true, false, true, true, true, false], &device);
            let of = |x: Tensor<2>| {
                uncertain(s.clone()).forward(TaskLosses::of_samples(x.square(), labelled.clone())).loss
            };
            slopes([2, 3], &noise(seed, 6), &of)?;
            let costs = double([2, 3], &noise(seed, 6), &device).square();
            let of = |s: Tensor<1>| {
                uncertain(s).forward(TaskLosses::of_samples(costs.clone(), labelled.clone())).loss
            };
            slopes([3], &noise(seed ^ 1, 3), &of)?;
        }

        #[test]
        fn extreme_variances_and_losses_stay_finite(seed in any::<u64>()) {
            let device = device();
            let s: Vec<f64> = noise(seed, 3).iter().map(|x| x.signum() * 1e4).collect();
            let losses = TaskLosses::of_means(vec![single([1], &[1e4], &device); 3]);
            let s = single([3], &s, &device);
            let of = |s: Tensor<1>| uncertain(s).forward(losses.clone()).loss;
            prop_assert!(number(of(s.clone())).is_finite());
            prop_assert!(gradient(&s, &of).iter().all(|g| g.is_finite()));
        }
    }
}
