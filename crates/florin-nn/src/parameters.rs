//! A module's parameters by the names of its fields: what checkpoints, optimisers and freezing all work on.
//!
//! A stored linear weight is `[output, input]`, as PyTorch has it, and transposed on the way in and out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use florin_backend::{PackedWeight, WeightFormat, transpose};

use crate::packed::{self, packed};

/// One parameter outside a device: row-major f32 with the shape it has in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Shape in the file's orientation.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// Where in a module a visitor or mapper stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    path: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    /// To be called by `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.path.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    /// To be called by `exit_module`.
    pub fn leave(&mut self) {
        self.path.pop();
        self.containers.pop();
    }

    /// The dotted name of the parameter. The variant of an enum of modules is not part of it: which one it is, the
    /// configuration says, and what a field may hold can grow without renaming what it held.
    pub fn name(&self) -> String {
        let named = self.path.iter().zip(&self.containers).filter(|(_, container)| !container.starts_with("Enum:"));
        named.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// What stands here as a file has it.
    fn stored<const D: usize>(&self, tensor: Tensor<D>) -> StoredTensor {
        let mut shape = tensor.dims().to_vec();
        let data = tensor.into_data().convert_dtype(DType::F32);
        let mut values = data.try_to_vec::<f32>().expect("the data was just converted to f32");
        if self.is_linear_weight() {
            values = transpose(&values, shape[0], shape[1]);
            shape.reverse();
        }
        StoredTensor { shape, values }
    }

    /// Whether the parameter is the weight of a linear layer, which stands here the other way round than in a file.
    pub(crate) fn is_linear_weight(&self) -> bool {
        self.containers.last().is_some_and(|container| container == "Struct:Linear")
            && self.path.last().is_some_and(|name| name == "weight")
    }
}

/// Values for a parameter, by its name and stored shape; none leaves it as it is. What is only turned round on its way to the module
/// need not be copied before: it may be lent.
pub type Source<'a, 'values> = &'a mut (dyn FnMut(&str, &[usize]) -> Option<Cow<'values, [f32]>> + 'a);

/// What a parameter is given.
#[derive(Clone, Debug)]
pub enum Given<'values> {
    /// Its values as a file has them.
    Numbers(Cow<'values, [f32]>),
    /// The weight of a linear layer that was packed before.
    Packed(PackedWeight),
}

/// The same as [`Source`] of values that may be packed.
pub type PackedSource<'a, 'values> = &'a mut (dyn FnMut(&str, &[usize]) -> Option<Given<'values>> + 'a);

/// Every parameter of a module by name.
pub fn collect<M: Module>(module: &M) -> BTreeMap<String, StoredTensor> {
    let mut collector = Collector { place: Place::default(), tensors: BTreeMap::new() };
    module.visit(&mut collector);
    collector.tensors
}

/// The gradient of every parameter that has one, by name, in the file's orientation as the parameters are.
pub fn collect_gradients<M: Module>(module: &M, graph: &burn::tensor::Gradients) -> BTreeMap<String, StoredTensor> {
    let mut collector = GradientCollector { place: Place::default(), graph, tensors: BTreeMap::new() };
    module.visit(&mut collector);
    collector.tensors
}

/// Replaces each parameter for which `source` has values; it is given the name and the stored shape.
///
/// # Panics
///
/// If `source` gives another number of values than the shape has.
pub fn assign<M: Module>(module: M, source: Source<'_, '_>) -> M {
    assign_packed(module, None, &mut |name, shape| source(name, shape).map(Given::Numbers)).0
}

/// The same, each weight of a linear layer packed as soon as it is there ([`crate::pack`]), so that the dense ones never exist together.
/// Packed ones that `source` gives stay in their own format; without a format, and on devices that multiply by none, they are unpacked.
/// All that are packed are told by name: Burn shows no visitor what hangs on a parameter.
///
/// # Panics
///
/// If `source` gives another number of values than the shape has, or a packed weight of another size.
pub fn assign_packed<M: Module>(
    module: M,
    packs: Option<WeightFormat>,
    source: PackedSource<'_, '_>,
) -> (M, BTreeMap<String, PackedWeight>) {
    let mut assigner = Assigner { place: Place::default(), packs, packed: BTreeMap::new(), source };
    (module.map(&mut assigner), assigner.packed)
}

/// Stops gradients, and so training, of every parameter whose name satisfies the test.
pub fn freeze<M: Module>(module: M, frozen: &dyn Fn(&str) -> bool) -> M {
    module.map(&mut Freezer { place: Place::default(), frozen })
}

/// How many numbers a module's parameters hold, or would hold: none is drawn for it. As many as can be counted, if there are more.
pub fn count<M: Module>(module: &M) -> usize {
    let mut counter = Counter(0);
    module.visit(&mut counter);
    counter.0
}

struct Collector {
    place: Place,
    tensors: BTreeMap<String, StoredTensor>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors.insert(self.place.name(), self.place.stored(param.val()));
    }
}

struct Counter(usize);

impl ModuleVisitor for Counter {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape: [usize; D] = param.lazy_shape().dims();
        self.0 = shape.iter().fold(1usize, |count, &size| count.saturating_mul(size)).saturating_add(self.0);
    }
}

struct GradientCollector<'a> {
    place: Place,
    graph: &'a burn::tensor::Gradients,
    tensors: BTreeMap<String, StoredTensor>,
}

impl ModuleVisitor for GradientCollector<'_> {
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
        if let Some(gradient) = param.val().grad(self.graph) {
            self.tensors.insert(self.place.name(), self.place.stored(gradient));
        }
    }
}

struct Assigner<'a, 'values> {
    place: Place,
    packs: Option<WeightFormat>,
    packed: BTreeMap<String, PackedWeight>,
    source: PackedSource<'a, 'values>,
}

impl ModuleMapper for Assigner<'_, '_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // A parameter without values must not draw them only to be asked for its shape.
        let shape: [usize; D] = param.lazy_shape().dims();
        let transposed = self.place.is_linear_weight();
        let stored: Vec<usize> = if transposed { shape.iter().rev().copied().collect() } else { shape.to_vec() };
        let name = self.place.name();
        let given = match (self.source)(&name, &stored) {
            // A file may call packed what no layer multiplies by.
            Some(Given::Packed(weight)) if !transposed => {
                let [input, output] = weight.dims();
                Some(Given::Numbers(Cow::Owned(transpose(&weight.values(), input, output))))
            }
            given => given,
        };
        let param = match given {
            Some(Given::Numbers(values)) => {
                let values = if transposed { transpose(&values, stored[0], stored[1]) } else { values.into_owned() };
                let param = replaced(param, |device| Tensor::from_data(TensorData::new(values, shape), device));
                match self.packs {
                    Some(format) if transposed => packed(param, format),
                    _ => param,
                }
            }
            Some(Given::Packed(weight)) => {
                assert!(weight.dims()[..] == shape[..], "{name}: a packed weight {:?} for {shape:?}", weight.dims());
                let device = if param.is_initialized() { param.val().device() } else { param.lazy_device() };
                let dense = |param| replaced(param, |device| weight.unpack(device).reshape(shape));
                match self.packs {
                    Some(_) => packed::hung(param, &device, weight.clone()).unwrap_or_else(dense),
                    None => dense(param),
                }
            }
            None => param,
        };
        if let Some(weight) = packed::of(&param) {
            self.packed.insert(name, weight.clone());
        }
        param
    }
}

/// A parameter with another value, tracked for gradients as it was.
fn replaced<const D: usize>(param: Param<Tensor<D>>, value: impl FnOnce(&Device) -> Tensor<D>) -> Param<Tensor<D>> {
    if param.is_initialized() {
        return param.map(|tensor| {
            let tracked = tensor.is_require_grad();
            let new = value(&tensor.device());
            if tracked { new.require_grad() } else { new }
        });
    }
    let tensor = value(&param.lazy_device());
    Param::initialized(param.id, tensor).set_require_grad(true)
}

struct Freezer<'a> {
    place: Place,
    frozen: &'a dyn Fn(&str) -> bool,
}

impl ModuleMapper for Freezer<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if (self.frozen)(&self.place.name()) { param.set_require_grad(false) } else { param }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerNorm, Linear};

    #[derive(Module, Debug)]
    enum Either {
        Dense(Linear),
        Norm(LayerNorm),
    }

    #[derive(Module, Debug)]
    struct Holder {
        choice: Either,
    }

    #[test]
    fn the_variant_of_an_enum_is_no_part_of_a_name() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let dense = collect(&Holder { choice: Either::Dense(Linear::new(2, 3, &device)) });
        assert_eq!(dense.keys().collect::<Vec<_>>(), ["choice.bias", "choice.weight"]);
        assert_eq!(dense["choice.weight"].shape, [3, 2], "and a linear weight in it is stored the other way round");
        let norm = collect(&Holder { choice: Either::Norm(LayerNorm::new(2, 1e-5, &device)) });
        assert_eq!(norm.keys().collect::<Vec<_>>(), ["choice.bias", "choice.weight"]);
    }

    #[test]
    fn what_is_collected_can_be_assigned_again() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let first = Linear::new(40, 70, &device);
        let stored = collect(&first);
        assert_eq!(stored["weight"].shape, [70, 40], "a stored weight is [output, input]");
        let second = assign(Linear::new(40, 70, &device), &mut |name, shape| {
            assert_eq!(shape, stored[name].shape);
            Some(Cow::Borrowed(&stored[name].values))
        });
        assert_eq!(collect(&second), stored);
    }
}
