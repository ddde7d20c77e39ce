//! AdamW by parameter groups.
//!
//! Burn's own rule takes `1 - β^t` in f32, which in the first steps is off by a hundred roundings; here scalars are f64 until they
//! meet a tensor, and ten steps stay within the rounding errors of PyTorch's. The arithmetic is one pass of `florin-backend`. State is kept by name, so that it can be saved
//! beside the weights and read back.
//!
//! Paper: Loshchilov and Hutter 2017, <https://arxiv.org/abs/1711.05101>
//! Difference: none.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use florin_backend::{AdamWStep, adamw};
use florin_nn::parameters::Place;
use serde::{Deserialize, Serialize};

use crate::Gradients;

/// Parameters that share a learning rate and a weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterGroup {
    /// Start of the names; the longest that matches decides, and the empty one matches all.
    pub prefix: String,
    /// Learning rate before the schedule.
    pub learning_rate: f64,
    /// Decoupled weight decay of matrices; vectors (biases, norms) never decay.
    pub weight_decay: f64,
}

/// Settings of the optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWSettings {
    /// Groups; one with an empty prefix is the rest.
    pub groups: Vec<ParameterGroup>,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// The optimiser and its state.
#[derive(Clone)]
pub struct AdamWOptimiser {
    settings: AdamWSettings,
    state: BTreeMap<String, Moments>,
}

/// Averages of a parameter's gradient and of its square, and how many steps they hold.
#[derive(Clone)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
    time: usize,
}

impl AdamWOptimiser {
    /// No state yet.
    pub fn new(settings: &AdamWSettings) -> Self {
        Self { settings: settings.clone(), state: BTreeMap::new() }
    }

    /// One step; `factor` is the schedule's.
    pub fn step<M: Module>(&mut self, module: M, gradients: &Gradients, factor: f64) -> M {
        module.map(&mut Stepper { optimiser: self, gradients, factor, place: Place::default() })
    }

    /// Moments by name, and how many steps each parameter has seen.
    pub fn state(&self) -> impl Iterator<Item = (&str, &Tensor<1>, &Tensor<1>, usize)> {
        self.state.iter().map(|(name, moments)| (name.as_str(), &moments.first, &moments.second, moments.time))
    }

    /// Puts a saved state back.
    pub fn restore(&mut self, name: String, moment_1: Tensor<1>, moment_2: Tensor<1>, time: usize) {
        self.state.insert(name, Moments { first: moment_1, second: moment_2, time });
    }

    fn group(&self, name: &str) -> Option<&ParameterGroup> {
        let matching = self.settings.groups.iter().filter(|group| name.starts_with(&group.prefix));
        matching.max_by_key(|group| group.prefix.len())
    }

    /// A parameter after its step.
    fn moved(&mut self, name: String, weights: Tensor<1>, gradient: Tensor<1>, pace: Pace) -> Tensor<1> {
        let Pace { rate, decay, scale } = pace;
        let AdamWSettings { beta_1, beta_2, epsilon, .. } = self.settings;
        let old = self.state.remove(&name).unwrap_or_else(|| Moments {
            first: weights.zeros_like(),
            second: weights.zeros_like(),
            time: 0,
        });
        let time = old.time + 1;
        let step = AdamWStep { beta_1, beta_2, epsilon, rate, decay, scale, time };
        let (weights, [first, second]) = adamw(weights, gradient, [old.first, old.second], step);
        self.state.insert(name, Moments { first, second, time });
        weights
    }
}

/// How far a parameter moves.
#[derive(Clone, Copy)]
struct Pace {
    rate: f64,
    decay: f64,
    /// What its gradient is multiplied by.
    scale: f64,
}

struct Stepper<'a> {
    optimiser: &'a mut AdamWOptimiser,
    gradients: &'a Gradients,
    factor: f64,
    place: Place,
}

impl ModuleMapper for Stepper<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.place.name();
        let Some((gradient, scale)) = self.gradients.unscaled(&name) else { return param };
        let Some(group) = self.optimiser.group(&name) else { return param };
        let (rate, decay) = (group.learning_rate * self.factor, if D > 1 { group.weight_decay } else { 0.0 });
        let pace = Pace { rate, decay, scale };
        // Taken out, not copied: the step moves the weights where they are if nothing else holds them.
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let flat = tensor.inner().reshape([shape.iter().product::<usize>()]);
        let new = self.optimiser.moved(name, flat, gradient.clone(), pace);
        Param::from_mapped_value(id, Tensor::from_inner(new.reshape(shape)).require_grad(), mapper)
    }
}

#[cfg(test)]
mod tests {
    use florin_nn::Linear;
    use florin_nn::parameters::{assign, collect};

    use super::*;

    #[test]
    fn the_first_step_is_the_rate_against_the_gradient_and_only_matrices_decay() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let layer = assign(Linear::new(1, 1, &device), &mut |_, _| Some(vec![4.0].into()));
        let x = Tensor::<2>::from_floats([[0.003]], &device);
        let gradients = Gradients::of(&layer, layer.forward(x).sum().backward());
        let groups = vec![ParameterGroup { prefix: String::new(), learning_rate: 0.5, weight_decay: 0.25 }];
        let settings = AdamWSettings { groups, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-12 };
        // Half the rate, by the schedule. Whatever a gradient's size, corrected moments make the first step one rate long.
        let moved = collect(&AdamWOptimiser::new(&settings).step(layer, &gradients, 0.5));
        let (weight, bias) = (moved["weight"].values[0], moved["bias"].values[0]);
        assert!((weight - (4.0 * (1.0 - 0.25 * 0.25) - 0.25)).abs() < 1e-5, "{weight}");
        assert!((bias - (4.0 - 0.25)).abs() < 1e-5, "{bias}");
    }

    #[test]
    fn the_longest_matching_prefix_decides() {
        let group =
            |prefix: &str, learning_rate| ParameterGroup { prefix: prefix.into(), learning_rate, weight_decay: 0.0 };
        let groups = vec![group("text.", 2.0), group("", 1.0), group("text.head", 3.0)];
        let optimiser = AdamWOptimiser::new(&AdamWSettings { groups, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 });
        let rate = |name| optimiser.group(name).map(|group| group.learning_rate);
        assert_eq!(
            [rate("image.weight"), rate("text.weight"), rate("text.head.bias")],
            [Some(1.0), Some(2.0), Some(3.0)]
        );
    }
}
