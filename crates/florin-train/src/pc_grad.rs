//! Gradients of several tasks that do not undo each other.
//!
//! For each task i, over the others in a random order of its own: where `gᵢ·gⱼ < 0`, `gᵢ ← gᵢ − (gᵢ·gⱼ / ‖gⱼ‖²) gⱼ`, with gⱼ as it was; the results are added.
//!
//! Paper: Yu et al. 2020 (PCGrad), <https://arxiv.org/abs/2001.06782>
//! Difference: the order is fresh for every task and step; the shuffle of the authors' code has no effect. Parameters that one task alone touches,
//! such as its head, take no part: nothing there can conflict.
//!
//! All that a projection needs of the gradients is their inner products, so that the projections are done on as many numbers as there are pairs
//! of tasks, in f64, and only the sum touches the gradients again.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::Gradients;

/// Combines the gradients of several tasks.
#[derive(Clone, Copy, Debug)]
pub struct PcGrad {
    /// Fixes every order, together with the step.
    pub seed: u64,
}

/// The gradients of all tasks together, and what was found on the way.
#[derive(Clone, Debug)]
pub struct PcGradParts {
    /// What the optimiser is given.
    pub gradients: Gradients,
    /// How many of the pairs of tasks point against each other, before any projection.
    pub conflicts: usize,
}

impl PcGrad {
    /// The sum of projected gradients; a pure function of its arguments.
    ///
    /// # Panics
    ///
    /// If two tasks have gradients of different sizes for one parameter.
    pub fn combine(&self, tasks: &[Gradients], step: u64) -> PcGradParts {
        combine_in_order(tasks, &|task| {
            let mut others: Vec<usize> = (0..tasks.len()).filter(|&other| other != task).collect();
            others.shuffle(&mut generator(self.seed, step, task));
            others
        })
    }
}

/// The same with orders that are given: for each task the others, in the order in which they are projected away.
///
/// # Panics
///
/// If an order names a task that is not there, or gradients of one parameter differ in size.
pub fn combine_in_order(tasks: &[Gradients], order: &dyn Fn(usize) -> Vec<usize>) -> PcGradParts {
    let products = inner_products(tasks);
    let conflicts = (0..tasks.len()).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|&(i, j)| products[i][j] < 0.0);
    let conflicts = conflicts.count();
    let shares = added_shares(&products, order);
    let mut sum = Gradients::default();
    for (gradients, &share) in tasks.iter().zip(&shares) {
        let (shared, own) = gradients.clone().split(|name| is_shared(tasks, name));
        sum = sum.plus(shared.scale(share)).plus(own);
    }
    PcGradParts { gradients: sum, conflicts }
}

/// How much of each task's gradient is in the sum, from the inner products of all pairs.
fn added_shares(products: &[Vec<f64>], order: &dyn Fn(usize) -> Vec<usize>) -> Vec<f64> {
    let tasks = products.len();
    let mut sum = vec![0.0; tasks];
    for task in 0..tasks {
        // The projected gradient, as shares of the original ones.
        let mut shares = vec![0.0; tasks];
        shares[task] = 1.0;
        for other in order(task).into_iter().filter(|&other| other != task) {
            let inner: f64 = shares.iter().zip(&products[other]).map(|(share, product)| share * product).sum();
            let square = products[other][other];
            if inner < 0.0 && square > 0.0 {
                shares[other] -= inner / square;
            }
        }
        sum.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
    }
    sum
}

/// `gᵢ·gⱼ` over the parameters that more than one task touches; a task that does not touch one has a gradient of zero there.
fn inner_products(tasks: &[Gradients]) -> Vec<Vec<f64>> {
    let mut products = vec![vec![0.0; tasks.len()]; tasks.len()];
    for i in 0..tasks.len() {
        for j in 0..=i {
            let inner = tasks[i].inner_product(&tasks[j], |name| is_shared(tasks, name));
            (products[i][j], products[j][i]) = (inner, inner);
        }
    }
    products
}

fn is_shared(tasks: &[Gradients], name: &str) -> bool {
    tasks.iter().filter(|task| task.get(name).is_some()).nth(1).is_some()
}

fn generator(seed: u64, step: u64, task: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&step.to_le_bytes());
    key[16..24].copy_from_slice(&(task as u64).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::module::Param;
    use burn::prelude::*;
    use proptest::prelude::*;

    use super::*;
    use crate::{Loss, Objective};

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there")
    }

    fn task(parameters: &[(&str, &[f32])]) -> Gradients {
        let device = device();
        let tensor = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device);
        Gradients::from_named(parameters.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))))
    }

    fn values(gradients: &Gradients, name: &str) -> Vec<f32> {
        gradients.get(name).expect(name).to_data().try_to_vec::<f32>().expect("f32")
    }

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.len() == expected.len()
            && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0))
    }

    #[test]
    fn two_conflicting_gradients_are_projected_as_worked_out_by_hand() {
        let tasks = [task(&[("w", &[1.0, 0.0])]), task(&[("w", &[-1.0, 1.0])])];
        let parts = PcGrad { seed: 1 }.combine(&tasks, 0);
        // (1, 0) + ½ (−1, 1) and (−1, 1) + (1, 0).
        assert!(close(&values(&parts.gradients, "w"), &[0.5, 1.5]));
        assert_eq!(parts.conflicts, 1);
    }

    #[test]
    fn gradients_that_agree_are_added() {
        let tasks = [task(&[("w", &[1.0, 2.0])]), task(&[("w", &[0.5, 0.0])]), task(&[("w", &[0.0, 0.0])])];
        let parts = PcGrad { seed: 1 }.combine(&tasks, 0);
        assert!(close(&values(&parts.gradients, "w"), &[1.5, 2.0]));
        assert_eq!(parts.conflicts, 0);
    }

    #[test]
    fn later_projections_are_against_the_others_as_they_were() {
        let tasks =
            [task(&[("w", &[1.0, 0.0, 0.0])]), task(&[("w", &[-1.0, 1.0, 0.0])]), task(&[("w", &[-1.0, -1.0, 1.0])])];
        let given =
            |order: [[usize; 2]; 3]| values(&combine_in_order(&tasks, &|task| order[task].to_vec()).gradients, "w");
        // Worked out by hand, one task after the other, with the original g₁ = (−1, 1, 0) and g₂ = (−1, −1, 1).
        // Task 0 by 1 then 2: (½, ½, 0), then −1/3 of g₂ away: (1/6, 1/6, 1/3). Task 1 by 0 then 2: (0, 1, 0), then (−1/3, 2/3, 1/3).
        // Task 2 by 0 then 1: (0, −1, 1), then (−½, −½, 1).
        let expected = [1.0 / 6.0 - 1.0 / 3.0 - 0.5, 1.0 / 6.0 + 2.0 / 3.0 - 0.5, 1.0 / 3.0 + 1.0 / 3.0 + 1.0];
        assert!(close(&given([[1, 2], [0, 2], [0, 1]]), &expected), "{:?}", given([[1, 2], [0, 2], [0, 1]]));
        assert!(!close(&given([[2, 1], [2, 0], [1, 0]]), &expected), "the order matters here");
    }

    #[test]
    fn every_order_occurs_and_each_is_a_function_of_seed_step_and_task() {
        let tasks =
            [task(&[("w", &[1.0, 0.0, 0.0])]), task(&[("w", &[-1.0, 1.0, 0.0])]), task(&[("w", &[-1.0, -1.0, 1.0])])];
        let found = |seed, step| {
            let sum = values(&PcGrad { seed }.combine(&tasks, step).gradients, "w");
            sum.iter().map(|value| (value * 1e4).round() as i64).collect::<Vec<_>>()
        };
        assert_eq!(found(3, 5), found(3, 5));
        let steps: BTreeSet<_> = (0..64).map(|step| found(3, step)).collect();
        // Three tasks have an order of two others each, of which some give the same.
        assert!(steps.len() > 3, "{steps:?}");
        assert!((0..64).any(|seed| found(seed, 0) != found(0, 0)));
    }

    #[test]
    fn parameters_of_one_task_alone_pass_as_they_are() {
        let tasks =
            [task(&[("head.a", &[3.0]), ("w", &[1.0, 0.0])]), task(&[("head.b", &[100.0]), ("w", &[-1.0, 1.0])])];
        let gradients = PcGrad { seed: 1 }.combine(&tasks, 0).gradients;
        assert_eq!((values(&gradients, "head.a"), values(&gradients, "head.b")), (vec![3.0], vec![100.0]));
        assert!(close(&values(&gradients, "w"), &[0.5, 1.5]), "heads have no part in the projection");
    }

    #[test]
    fn no_task_gives_no_gradient_and_one_task_its_own() {
        assert_eq!(PcGrad { seed: 1 }.combine(&[], 0).gradients.names().count(), 0);
        let alone = PcGrad { seed: 1 }.combine(&[task(&[("w", &[1.0, -2.0])])], 0).gradients;
        assert_eq!(values(&alone, "w"), [1.0, -2.0]);
    }

    /// Two tasks pull one number to either side, each with a head of its own.
    #[derive(Module, Debug)]
    struct Model {
        shared: Param<Tensor<1>>,
        heads: Vec<Param<Tensor<1>>>,
    }

    /// How an objective uses it: one forward and one backward pass a task, since a graph is used up by its backward pass. A batch carries its
    /// number, so that a continued run draws the orders that an uninterrupted one would have.
    struct EveryTask {
        surgery: PcGrad,
    }

    impl EveryTask {
        fn task(model: &Model, task: usize) -> Tensor<1> {
            let target = [3.0, -1.0][task];
            (model.shared.val() - target).square().sum() + (model.heads[task].val() - 1.0).square().sum()
        }
    }

    impl Objective for EveryTask {
        type Model = Model;
        type Batch = u64;

        fn loss(&mut self, model: &Model, _number: &u64) -> Loss {
            Loss { total: Self::task(model, 0) + Self::task(model, 1), parts: Vec::new() }
        }

        fn gradients(&mut self, model: &Model, number: &u64) -> (Gradients, f64, Vec<(String, f64)>) {
            let (mut tasks, mut total, mut parts) = (Vec::new(), 0.0, Vec::new());
            for task in 0..2 {
                let loss = Self::task(model, task);
                let value = f64::from(loss.clone().into_scalar::<f32>());
                total += value;
                parts.push((format!("task {task}"), value));
                tasks.push(Gradients::of(model, loss.backward()));
            }
            let found = self.surgery.combine(&tasks, *number);
            parts.push(("conflicts".to_owned(), found.conflicts as f64));
            (found.gradients, total, parts)
        }
    }

    #[test]
    fn an_objective_of_several_tasks_gives_projected_gradients_and_each_task_s_loss() {
        let device = device().autodiff();
        let number = |value: f32| Param::from_tensor(Tensor::<1>::from_floats([value], &device));
        let model = Model { shared: number(0.0), heads: vec![number(0.0), number(4.0)] };
        let mut objective = EveryTask { surgery: PcGrad { seed: 1 } };
        let (gradients, loss, parts) = objective.gradients(&model, &0);
        // On one number two gradients of −6 and 2 leave nothing of each other; the plain sum would be −4.
        assert!(values(&gradients, "shared")[0].abs() < 1e-6);
        assert_eq!((values(&gradients, "heads.0"), values(&gradients, "heads.1")), (vec![-2.0], vec![6.0]));
        assert_eq!(loss, 9.0 + 1.0 + 1.0 + 9.0);
        let parts: Vec<(&str, f64)> = parts.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(parts, [("task 0", 10.0), ("task 1", 10.0), ("conflicts", 1.0)]);
        let plain = Gradients::of(&model, objective.loss(&model, &0).total.backward());
        assert_eq!(values(&plain, "shared"), [-4.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn of_two_tasks_the_sum_harms_neither(numbers in prop::collection::vec(-1e3..1e3f32, 8), step in any::<u64>()) {
            let tasks = [task(&[("w", &numbers[..4])]), task(&[("w", &numbers[4..])])];
            let sum = PcGrad { seed: 2 }.combine(&tasks, step).gradients;
            for task in &tasks {
                prop_assert!(sum.inner_product(task, |_| true) > -1e-2 * task.norm() * sum.norm().max(1.0));
            }
        }

        #[test]
        fn the_order_of_two_tasks_does_not_matter(numbers in prop::collection::vec(-1f32..1.0, 8)) {
            let (one, other) = (task(&[("w", &numbers[..4])]), task(&[("w", &numbers[4..])]));
            let sum = |tasks: &[Gradients]| values(&PcGrad { seed: 2 }.combine(tasks, 0).gradients, "w");
            prop_assert!(close(&sum(&[one.clone(), other.clone()]), &sum(&[other, one])));
        }
    }
}
