//! A moving average of the weights, which often evaluates better than the last step's.
//!
//! Paper: Polyak and Juditsky 1992, <https://doi.org/10.1137/0330046>
//! Difference: exponential, with a shorter memory in the first steps so that the start is forgotten.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use florin_nn::parameters::Place;

/// Averages by parameter name.
#[derive(Clone, Debug)]
pub struct WeightAverage {
    decay: f64,
    values: BTreeMap<String, Tensor<1>>,
}

impl WeightAverage {
    /// No average yet; the first update copies.
    pub fn new(decay: f64) -> Self {
        Self { decay, values: BTreeMap::new() }
    }

    /// Takes in the weights after step `step`, counted from zero.
    pub fn update<M: Module>(&mut self, module: &M, step: usize) {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        module.visit(&mut Updater { average: self, decay, place: Place::default() });
    }

    /// The module with averaged weights.
    pub fn apply<M: Module>(&self, module: M) -> M {
        module.map(&mut Applier { average: self, place: Place::default() })
    }

    /// Averages by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Puts a saved average back.
    pub fn restore(&mut self, name: String, value: Tensor<1>) {
        self.values.insert(name, value);
    }
}

struct Updater<'a> {
    average: &'a mut WeightAverage,
    decay: f64,
    place: Place,
}

impl ModuleVisitor for Updater<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // What is frozen never moves, so its average is itself.
        if !param.is_require_grad() {
            return;
        }
        let value = param.val().inner();
        let count = value.dims().iter().product::<usize>();
        let value = value.reshape([count]);
        let name = self.place.name();
        let next = match self.average.values.remove(&name) {
            Some(average) => average * self.decay + value * (1.0 - self.decay),
            None => value,
        };
        self.average.values.insert(name, next);
    }
}

struct Applier<'a> {
    average: &'a WeightAverage,
    place: Place,
}

impl ModuleMapper for Applier<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(average) = self.average.values.get(&self.place.name()) else { return param };
        let shape = param.val().dims();
        let average = average.clone().reshape(shape);
        param.map(|tensor| if tensor.is_autodiff() { Tensor::from_inner(average).require_grad() } else { average })
    }
}

#[cfg(test)]
mod tests {
    use florin_nn::Linear;
    use florin_nn::parameters::{assign, collect};

    use super::*;

    #[test]
    fn weighs_the_past_by_the_decay_that_grows_from_a_tenth() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let of = |value: f32| assign(Linear::without_bias(1, 1, &device), &mut |_, _| Some(vec![value].into()));
        let mut average = WeightAverage::new(0.5);
        average.update(&of(8.0), 0); // copied
        average.update(&of(0.0), 1); // 2/11 of 8
        average.update(&of(4.0), 90); // the decay itself by now
        let found = collect(&average.apply(of(100.0)))["weight"].values[0];
        assert!((found - (0.5 * 8.0 * 2.0 / 11.0 + 0.5 * 4.0)).abs() < 1e-6, "{found}");
    }
}
