//! Packed weights in place of dense ones: a module for inference, whatever it is.
//!
//! A packed weight hangs on its parameter as one of Burn's reparameterizations. [`Linear`](crate::Linear) multiplies by it as it is;
//! whoever asks for the parameter's value gets the weight unpacked, rounded as it is. The dense numbers are gone.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, Reparameterization, Reparameterizer};
use burn::prelude::*;
use florin_backend::{PackedWeight, WeightFormat};

use crate::parameters::Place;

/// What hangs on a weight.
#[derive(Module, Debug)]
struct Packed {
    #[module(skip)]
    weight: PackedWeight,
}

impl Reparameterization for Packed {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.weight.unpack(&base.device()).reshape(base.dims()).cast(base.dtype())
    }
}

/// Packs the weights of all linear layers. On devices that multiply by no packed weights the module stays as it is, and so does a
/// weight that would gain nothing ([`PackedWeight::pack`]).
///
/// The module is then for inference: its parameters cannot be trained, and hold no numbers of the packed weights but through
/// [`Module::materialize`].
pub fn pack<M: Module>(module: M, format: WeightFormat) -> M {
    pack_and_tell(module, format).0
}

/// The same, and every packed weight by its parameter's name.
pub fn pack_and_tell<M: Module>(module: M, format: WeightFormat) -> (M, BTreeMap<String, PackedWeight>) {
    let mut packer = Packer { place: Place::default(), format, packed: BTreeMap::new() };
    (module.map(&mut packer), packer.packed)
}

/// A weight with its packed form hanging on it.
pub(crate) fn packed<const D: usize>(weight: Param<Tensor<D>>, format: WeightFormat) -> Param<Tensor<D>> {
    // A parameter is a module too: Burn attaches to modules alone.
    weight.apply_reparameterization(Attached(format))
}

/// A weight that was packed before, hanging on its parameter; whether it can: elsewhere nothing multiplies by it.
pub(crate) fn hung<const D: usize>(
    param: Param<Tensor<D>>,
    device: &Device,
    weight: PackedWeight,
) -> Result<Param<Tensor<D>>, Param<Tensor<D>>> {
    let nothing = Tensor::<D>::zeros([1; D], device);
    if !florin_backend::fuses(&nothing) {
        return Err(param);
    }
    let shape: [usize; D] = param.lazy_shape().dims();
    // What the parameter held, or would draw, is not asked for.
    let param = Param::initialized(param.id, nothing.expand(shape)).set_require_grad(false);
    Ok(param.apply_reparameterization(Hung(weight)))
}

/// The packed weight that hangs on a parameter.
pub(crate) fn of<const D: usize>(weight: &Param<Tensor<D>>) -> Option<&PackedWeight> {
    weight.reparameterization::<Packed>().map(|packed| &packed.weight)
}

/// Packs what it meets.
struct Packer {
    place: Place,
    format: WeightFormat,
    packed: BTreeMap<String, PackedWeight>,
}

impl ModuleMapper for Packer {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.place.is_linear_weight() {
            return param;
        }
        let param = packed(param, self.format);
        if let Some(weight) = of(&param) {
            self.packed.insert(self.place.name(), weight.clone());
        }
        param
    }
}

struct Attached(WeightFormat);

impl Reparameterizer for Attached {
    type Reparam = Packed;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Packed>) {
        let (id, tensor, mapper) = param.consume();
        let (dims, device) = (tensor.dims(), tensor.device());
        let shape: [usize; 2] = [dims[0], dims[D - 1]];
        match PackedWeight::pack(tensor.clone().reshape(shape), self.0) {
            // One number stands for all, so that the shape stays and the memory does not.
            Some(weight) => {
                let nothing = Tensor::<D>::zeros([1; D], &device).expand(dims);
                (Param::from_mapped_value(id, nothing, mapper), Some(Packed { weight }))
            }
            None => (Param::from_mapped_value(id, tensor, mapper), None),
        }
    }
}

struct Hung(PackedWeight);

impl Reparameterizer for Hung {
    type Reparam = Packed;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Packed>) {
        (param, Some(Packed { weight: self.0.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use burn::tensor::Distribution;
    use florin_backend::Activation;

    use super::*;
    use crate::parameters::{Given, assign_packed};
    use crate::{Linear, Mlp};

    fn device() -> Device {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 5);
        device
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("f32")
    }

    #[test]
    fn a_packed_layer_computes_what_the_rounded_weight_does() {
        let device = device();
        let layer = Linear::new(21, 35, &device);
        let x = Tensor::<3>::random([2, 7, 21], Distribution::Normal(0.0, 1.0), &device);
        let dense = numbers(layer.forward_activated(x.clone(), Activation::Gelu));
        let largest = dense.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (format, tolerance) in [(WeightFormat::F32, 1e-6), (WeightFormat::Bf16, 1e-2), (WeightFormat::Int8, 2e-2)] {
            let packed = pack(layer.clone(), format);
            assert!(of(&packed.weight).is_some());
            assert_eq!(packed.weight.val().dims(), [21, 35]);
            let found = numbers(packed.forward_activated(x.clone(), Activation::Gelu));
            let off = found.iter().zip(&dense).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(off <= tolerance * largest, "{format:?}: off by {off} of {largest}");
            // Unpacked, it is the same layer to the last rounding, but for the rounded rows.
            let unpacked = packed.clone().materialize();
            assert!(of(&unpacked.weight).is_none());
            let off = numbers(unpacked.forward_activated(x.clone(), Activation::Gelu));
            let off = off.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(off <= tolerance * largest, "{format:?} unpacked: off by {off} of {largest}");
        }
    }

    #[test]
    fn only_weights_of_linear_layers_are_packed_and_their_shapes_stay() {
        let device = device();
        let mlp = Mlp::new(16, 64, Activation::Gelu, &device);
        let packed = pack(mlp.clone(), WeightFormat::Int8);
        assert!(of(&packed.up.weight).is_some() && of(&packed.down.weight).is_some());
        assert_eq!(crate::parameters::count(&packed), crate::parameters::count(&mlp));
        let embedding = pack(crate::Embedding::new(9, 4, &device), WeightFormat::Int8);
        assert!(embedding.weight.reparameterization::<Packed>().is_none());
    }

    #[test]
    fn what_was_packed_before_is_hung_on_another_module_or_unpacked_for_it() {
        let device = device();
        let (packed, weights) = pack_and_tell(Mlp::new(16, 64, Activation::Gelu, &device), WeightFormat::Int8);
        assert_eq!(weights.keys().collect::<Vec<_>>(), ["down.weight", "up.weight"]);
        let others = crate::parameters::collect(&packed);
        let assigned = |packs| {
            assign_packed(Mlp::new(16, 64, Activation::Gelu, &device), packs, &mut |name, _| match weights.get(name) {
                Some(weight) => Some(Given::Packed(weight.clone())),
                None => Some(Given::Numbers(Cow::Borrowed(&others[name].values))),
            })
        };
        let x = Tensor::<3>::random([2, 7, 16], Distribution::Normal(0.0, 1.0), &device);
        let exact = numbers(packed.forward(x.clone()));
        // Whatever format is asked for: it is packed already.
        let (hung, found) = assigned(Some(WeightFormat::F32));
        assert_eq!(found.keys().collect::<Vec<_>>(), weights.keys().collect::<Vec<_>>());
        assert!(of(&hung.up.weight).is_some());
        assert_eq!(numbers(hung.forward(x.clone())), exact);
        let (dense, found) = assigned(None);
        assert!(found.is_empty());
        assert_eq!(numbers(dense.up.weight.val()), numbers(packed.up.weight.val()));
    }

    #[test]
    fn what_no_layer_multiplies_by_is_unpacked() {
        let device = device();
        let table = crate::Embedding::new(9, 4, &device);
        let weight = PackedWeight::pack(table.weight.val().transpose(), WeightFormat::F32).expect("on the cpu device");
        let (read, packed) =
            assign_packed(crate::Embedding::new(9, 4, &device), Some(WeightFormat::F32), &mut |_, shape| {
                assert_eq!(shape, [9, 4]);
                Some(Given::Packed(weight.clone()))
            });
        assert!(packed.is_empty());
        assert_eq!(numbers(read.weight.val()), numbers(table.weight.val()));
    }

    #[test]
    fn a_gradient_passes_through_a_packed_layer() {
        let device = device();
        let layer = pack(Linear::new(6, 5, &device), WeightFormat::Int8);
        let weight = numbers(layer.weight.val());
        let x = Tensor::<2>::ones([1, 6], &device.clone().autodiff()).require_grad();
        let gradients = layer.train().forward(x.clone()).sum().backward();
        let found = numbers(x.grad(&gradients).expect("x has a gradient"));
        for (found, row) in found.iter().zip(weight.chunks(5)) {
            assert!((found - row.iter().sum::<f32>()).abs() < 1e-5);
        }
    }
}
