//! Gradients by parameter name, apart from the graph that gave them: they can be added, scaled and clipped.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use florin_backend::sum_of_squares;
use florin_nn::parameters::Place;

/// One flat gradient a parameter; frozen parameters and those that a loss does not touch have none.
///
/// What all are multiplied by is kept apart, so that scaling and clipping pass over no gradient: the optimiser's own pass does it.
#[derive(Clone, Debug)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor<1>>,
    factor: f64,
}

impl Default for Gradients {
    fn default() -> Self {
        Self::from_named([])
    }
}

impl Gradients {
    /// Takes a module's gradients out of what `backward` gave.
    pub fn of<M: Module>(module: &M, mut graph: burn::tensor::Gradients) -> Self {
        let mut collector = Collector { place: Place::default(), graph: &mut graph, by_name: BTreeMap::new() };
        module.visit(&mut collector);
        Self { by_name: collector.by_name, factor: 1.0 }
    }

    /// Flat gradients by their parameters' names.
    pub fn from_named(gradients: impl IntoIterator<Item = (String, Tensor<1>)>) -> Self {
        Self { by_name: gradients.into_iter().collect(), factor: 1.0 }
    }

    /// The flat gradient of a parameter.
    pub fn get(&self, name: &str) -> Option<Tensor<1>> {
        let (gradient, factor) = self.unscaled(name)?;
        Some(if factor == 1.0 { gradient.clone() } else { gradient.clone() * factor })
    }

    /// What is to be multiplied for the flat gradient of a parameter, and by what.
    pub(crate) fn unscaled(&self, name: &str) -> Option<(&Tensor<1>, f64)> {
        Some((self.by_name.get(name)?, self.factor))
    }

    /// Names of the parameters that have a gradient.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Adds another batch's gradients.
    pub fn plus(self, other: Self) -> Self {
        let (mut sum, other) = (self.multiplied(), other.multiplied());
        for (name, gradient) in other.by_name {
            let both = match sum.by_name.remove(&name) {
                Some(own) => own + gradient,
                None => gradient,
            };
            sum.by_name.insert(name, both);
        }
        sum
    }

    /// Multiplies every gradient.
    pub fn scale(self, factor: f64) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// The same with a factor of one.
    fn multiplied(self) -> Self {
        if self.factor == 1.0 {
            return self;
        }
        let by_name = self.by_name.into_iter().map(|(name, gradient)| (name, gradient * self.factor)).collect();
        Self { by_name, factor: 1.0 }
    }

    /// The gradients whose parameter's name satisfies the test, and the others.
    pub fn split(self, test: impl Fn(&str) -> bool) -> (Self, Self) {
        let (chosen, others) = self.by_name.into_iter().partition(|(name, _)| test(name));
        (Self { by_name: chosen, factor: self.factor }, Self { by_name: others, factor: self.factor })
    }

    /// The inner product with others over the parameters that satisfy the test; what one side lacks is zero.
    pub fn inner_product(&self, other: &Self, test: impl Fn(&str) -> bool) -> f64 {
        let shared = self.by_name.iter().filter(|(name, _)| test(name));
        let products = shared.filter_map(|(name, own)| Some((own.clone() * other.by_name.get(name)?.clone()).sum()));
        self.factor * other.factor * products.map(|product| f64::from(product.into_scalar::<f32>())).sum::<f64>()
    }

    /// The Euclidean norm of all gradients together.
    pub fn norm(&self) -> f64 {
        self.factor.abs() * self.by_name.values().map(|g| sum_of_squares(g.clone())).sum::<f64>().sqrt()
    }

    /// Shortens the gradients to a common norm of at most `most`, and tells what the norm was.
    pub fn clip(self, most: f64) -> (Self, f64) {
        let norm = self.norm();
        if norm > most { (self.scale(most / norm), norm) } else { (self, norm) }
    }
}

struct Collector<'a> {
    place: Place,
    graph: &'a mut burn::tensor::Gradients,
    by_name: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        if let Some(gradient) = param.val().grad_remove(self.graph) {
            let count = gradient.dims().iter().product::<usize>();
            self.by_name.insert(self.place.name(), gradient.reshape([count]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_shortens_all_gradients_by_one_factor() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let tensor = |values: [f32; 2]| Tensor::<1>::from_floats(values, &device);
        let by_name = BTreeMap::from([("a".into(), tensor([3.0, 0.0])), ("b".into(), tensor([0.0, 0.4]))]);
        let gradients = Gradients::from_named(by_name);
        let norm = (9.0f64 + 0.16).sqrt();
        let (clipped, before) = gradients.clone().clip(1.0);
        assert!((before - norm).abs() < 1e-6);
        let values = |name: &str| clipped.get(name).unwrap().to_data().try_to_vec::<f32>().expect("f32");
        assert!((f64::from(values("a")[0]) - 3.0 / norm).abs() < 1e-6, "{:?}", values("a"));
        assert!((f64::from(values("b")[1]) - 0.4 / norm).abs() < 1e-6, "{:?}", values("b"));
        let (short, _) = gradients.clone().clip(4.0);
        assert_eq!(short.get("a").unwrap().to_data().try_to_vec::<f32>().expect("f32"), [3.0, 0.0]);
        // Factors meet in sums, products and norms.
        let sum = gradients.clone().scale(0.5).plus(gradients.clone().scale(2.0));
        assert_eq!(sum.get("a").unwrap().to_data().try_to_vec::<f32>().expect("f32"), [7.5, 0.0]);
        assert!((gradients.clone().scale(-2.0).norm() - 2.0 * norm).abs() < 1e-6);
        let product = gradients.clone().scale(3.0).inner_product(&gradients.clone().scale(0.5), |name| name == "a");
        assert!((product - 13.5).abs() < 1e-6);
        let (one, other) = gradients.scale(2.0).split(|name| name == "a");
        assert!((one.norm() - 6.0).abs() < 1e-6 && (other.norm() - 0.8).abs() < 1e-6);
    }
}
