//! Weights of several tasks, kept such that all train at a similar rate.
//!
//! `Gᵢ = wᵢ ‖∇_W Lᵢ‖` on the last shared layer W, `rᵢ = (Lᵢ/Lᵢ⁰) / mean`, and one step on w down `Σ |Gᵢ − mean(G) rᵢ^α|`, whose second term is
//! a constant; then w is scaled to sum to the number of tasks. Since Gᵢ is wᵢ times a norm, the slope is `sign(Gᵢ − target) ‖∇_W Lᵢ‖`: the
//! norms of plain gradients are all that is needed, one backward pass a task.
//!
//! Paper: Chen et al. 2017 (GradNorm), <https://arxiv.org/abs/1711.02257>
//! Difference: plain descent on w, which the paper does not fix; weights never fall below a thousandth, since one that is zero stays so.

use crate::LossError;
use crate::error::check;

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNormConfig {
    /// α: how strongly a task that lags is pulled; 0 makes all gradients equal, the paper uses 1.5 on pictures and 0.12 on toys.
    pub pull: f64,
    /// Step on the weights.
    pub learning_rate: f64,
}

/// The weights and the first losses.
#[derive(Clone, Debug, PartialEq)]
pub struct GradNorm {
    config: GradNormConfig,
    weights: Vec<f64>,
    first: Vec<Option<f64>>,
}

/// What a task did in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskProgress {
    /// Its loss, unweighted.
    pub loss: f64,
    /// The norm of that loss's gradient on the last shared layer, unweighted.
    pub gradient_norm: f64,
}

/// Below this a weight would vanish from its own gradient norm.
const LEAST_WEIGHT: f64 = 1e-3;

impl Default for GradNormConfig {
    fn default() -> Self {
        Self { pull: 1.5, learning_rate: 0.025 }
    }
}

impl GradNormConfig {
    /// Refuses settings that cannot be meant.
    pub fn validate(&self) -> Result<(), LossError> {
        check("pull", self.pull, "zero or more", |value| value >= 0.0)?;
        check("learning_rate", self.learning_rate, "above zero", |value| value > 0.0)
    }
}

impl GradNorm {
    /// Equal weights of one.
    pub fn new(tasks: usize, config: GradNormConfig) -> Result<Self, LossError> {
        config.validate()?;
        Ok(Self { config, weights: vec![1.0; tasks], first: vec![None; tasks] })
    }

    /// The weights, which sum to the number of tasks.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The weights after a step; a task without labels is `None` and keeps its weight. The first loss that a task shows is what its progress
    /// is measured from.
    ///
    /// # Panics
    ///
    /// If there are not as many tasks as weights.
    pub fn step(&mut self, tasks: &[Option<TaskProgress>]) {
        assert_eq!(tasks.len(), self.weights.len(), "one progress a task is needed");
        for (first, task) in self.first.iter_mut().zip(tasks) {
            *first = first.or(task.map(|task| task.loss));
        }
        let present: Vec<usize> = (0..tasks.len()).filter(|&task| tasks[task].is_some()).collect();
        let progress: Vec<TaskProgress> = tasks.iter().flatten().copied().collect();
        let usable = |task: &TaskProgress| task.loss.is_finite() && task.gradient_norm.is_finite();
        // A loss or gradient that overflowed says nothing about the weights.
        if present.is_empty() || !progress.iter().all(usable) {
            return;
        }
        let before: f64 = present.iter().map(|&task| self.weights[task]).sum();
        for ((&task, now), target) in present.iter().zip(&progress).zip(self.targets(&present, &progress)) {
            let slope = sign(self.weights[task] * now.gradient_norm - target) * now.gradient_norm;
            self.weights[task] = (self.weights[task] - self.config.learning_rate * slope).max(LEAST_WEIGHT);
        }
        let after: f64 = present.iter().map(|&task| self.weights[task]).sum();
        for task in present {
            self.weights[task] *= before / after;
        }
    }

    /// The gradient norms that the present tasks should have; constants of the step.
    fn targets(&self, present: &[usize], progress: &[TaskProgress]) -> Vec<f64> {
        let count = present.len() as f64;
        let norms = present.iter().zip(progress).map(|(&task, now)| self.weights[task] * now.gradient_norm);
        let mean_norm = norms.sum::<f64>() / count;
        let ratio = |task: usize, now: &TaskProgress| match self.first[task] {
            Some(first) if first.abs() > f64::MIN_POSITIVE => (now.loss / first).max(0.0),
            _ => 1.0, // a loss that began at zero has nothing to catch up
        };
        let ratios: Vec<f64> = present.iter().zip(progress).map(|(&task, now)| ratio(task, now)).collect();
        let mean_ratio = ratios.iter().sum::<f64>() / count;
        let rate = |ratio: f64| if mean_ratio > 0.0 { ratio / mean_ratio } else { 1.0 };
        ratios.into_iter().map(|ratio| mean_norm * rate(ratio).powf(self.config.pull)).collect()
    }
}

/// Zero at zero, unlike `f64::signum`.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress(loss: f64, gradient_norm: f64) -> Option<TaskProgress> {
        Some(TaskProgress { loss, gradient_norm })
    }

    fn balanced(pull: f64) -> GradNorm {
        GradNorm::new(2, GradNormConfig { pull, learning_rate: 0.1 }).expect("valid")
    }

    #[test]
    fn a_step_is_the_one_worked_out_by_hand() {
        let mut norm = balanced(1.0);
        norm.step(&[progress(4.0, 1.0), progress(2.0, 1.0)]);
        assert_eq!(norm.weights(), [1.0, 1.0], "equal norms at the first step are on target");
        // Ratios 0.25 and 1 over their mean 0.625: 0.4 and 1.6; mean norm 2; targets 0.8 and 3.2, norms 1 and 3.
        norm.step(&[progress(1.0, 1.0), progress(2.0, 3.0)]);
        // Slopes 1 and −3: weights 0.9 and 1.3, then scaled to two.
        assert!((norm.weights()[0] - 0.9 * 2.0 / 2.2).abs() < 1e-12, "{:?}", norm.weights());
        assert!((norm.weights()[1] - 1.3 * 2.0 / 2.2).abs() < 1e-12);
    }

    #[test]
    fn the_target_does_not_move_with_the_weight() {
        // With α = 0 the target is the mean norm. Were it no constant, the slopes would be halved.
        let mut norm = balanced(0.0);
        norm.step(&[progress(1.0, 2.0), progress(1.0, 1.0)]);
        let (one, other) = (1.0 - 0.1 * 2.0, 1.0 + 0.1);
        assert!((norm.weights()[0] - one * 2.0 / (one + other)).abs() < 1e-12);
    }

    #[test]
    fn a_task_without_labels_keeps_its_weight() {
        let mut norm = GradNorm::new(3, GradNormConfig::default()).expect("valid");
        norm.step(&[progress(1.0, 5.0), None, progress(1.0, 1.0)]);
        assert_eq!(norm.weights()[1], 1.0);
        assert!((norm.weights().iter().sum::<f64>() - 3.0).abs() < 1e-12);
        let before = norm.weights().to_vec();
        norm.step(&[None, None, None]);
        norm.step(&[progress(f64::INFINITY, 1.0), None, progress(1.0, f64::NAN)]);
        assert_eq!(norm.weights(), before);
    }

    #[test]
    fn gradients_of_unlike_sizes_become_alike() {
        let mut norm = balanced(0.0);
        for _ in 0..400 {
            norm.step(&[progress(1.0, 0.9), progress(1.0, 0.3)]);
        }
        let ratio = norm.weights()[0] * 0.9 / (norm.weights()[1] * 0.3);
        assert!((ratio - 1.0).abs() < 0.3, "{:?}", norm.weights());
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        for (pull, learning_rate) in [(-1.0, 0.1), (f64::NAN, 0.1), (1.0, 0.0), (1.0, f64::INFINITY)] {
            assert!(GradNorm::new(2, GradNormConfig { pull, learning_rate }).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn weights_stay_above_zero_and_sum_to_the_number_of_tasks(
            steps in prop::collection::vec(prop::collection::vec((0.0..1e4f64, 0.0..1e4f64), 3), 1..20),
        ) {
            let mut norm = GradNorm::new(3, GradNormConfig::default()).expect("valid");
            for step in steps {
                let tasks: Vec<_> = step.iter().map(|&(loss, gradient)| progress(loss, gradient)).collect();
                norm.step(&tasks);
                prop_assert!(norm.weights().iter().all(|&weight| weight > 0.0));
                prop_assert!((norm.weights().iter().sum::<f64>() - 3.0).abs() < 1e-9);
            }
        }

        #[test]
        fn the_order_of_tasks_does_not_matter(values in prop::collection::vec((0.1..10f64, 0.1..10f64), 6)) {
            let (mut one, mut other) = (balanced(1.5), balanced(1.5));
            for pair in values.chunks(2) {
                let tasks: Vec<_> = pair.iter().map(|&(loss, gradient)| progress(loss, gradient)).collect();
                one.step(&tasks);
                other.step(&[tasks[1], tasks[0]]);
                prop_assert!((one.weights()[0] - other.weights()[1]).abs() < 1e-9);
            }
        }
    }
}
