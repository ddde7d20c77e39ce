//! Packed weights in place of dense ones: a module for inference, whatever it is.
//!
//! A packed weight hangs on its parameter as one of Burn's reparameterizations. [`Linear`](crate::Linear) multiplies by it as it is;
//! whoever asks for the parameter's value gets the weight unpacked, rounded as it is. The dense numbers are gone.

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
    module.map(&mut Packer { place: Place::default(), format })
}

/// A weight with its packed form hanging on it.
pub(crate) fn packed<const D: usize>(weight: Param<Tensor<D>>, format: WeightFormat) -> Param<Tensor<D>> {
    // A parameter is a module too: Burn attaches to modules alone.
    weight.apply_reparameterization(Attached(format))
}

/// The packed weight that hangs on a parameter.
pub(crate) fn of(weight: &Param<Tensor<2>>) -> Option<&PackedWeight> {
    weight.reparameterization::<Packed>().map(|packed| &packed.weight)
}

/// Packs what it meets.
struct Packer {
    place: Place,
    format: WeightFormat,
}

impl ModuleMapper for Packer {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.place.is_linear_weight() { packed(param, self.format) } else { param }
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

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use florin_backend::Activation;

    use super::*;
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
