//! Weights of linear layers in the order, and the precision, in which the `cpu` device multiplies fastest: for inference.

use std::sync::Arc;

use burn::backend::Flex;
use burn::prelude::*;
use burn::tensor::DType;

use crate::fused::{self, serves};
use crate::kernels::activation::is_fused;
use crate::kernels::packed::Panels;
use crate::kernels::packed::bf16::Bf16;
use crate::kernels::packed::int8::{Int8, LONGEST};
use crate::kernels::packed::single::Single;
use crate::{Activation, activation, linear_activation};

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// Not at all.
    F32,
    /// To the upper half of an f32, which leaves eight bits of the fraction; rows are rounded too where the processor multiplies bfloat16.
    Bf16,
    /// To eight bits with a scale for each output; rows are rounded to eight bits as they come, over their own range.
    Int8,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// A weight `[input, output]` that was packed once; clones share it.
#[derive(Clone, Debug)]
pub struct PackedWeight(Arc<Packed>);

#[derive(Debug)]
pub(crate) enum Packed {
    Single(Single),
    Bf16(Bf16),
    Int8(Int8),
}

impl PackedWeight {
    /// Packs a weight; none where nothing would be gained: on another device than `cpu`, in another precision than f32, without
    /// numbers, or in eight bits with more inputs than sums of 32 bits can hold.
    ///
    /// # Shapes
    ///
    /// - weight: `[input, output]`
    pub fn pack(weight: Tensor<2>, format: WeightFormat) -> Option<Self> {
        let [input, output] = weight.dims();
        if !serves(&weight) || input * output == 0 || (format == WeightFormat::Int8 && input > LONGEST) {
            return None;
        }
        let weight = if weight.device().is_autodiff() { weight.inner() } else { weight };
        Some(Self(Arc::new(fused::with_numbers(weight, |values| match format {
            WeightFormat::F32 => Packed::Single(Single::pack(values, input, output)),
            WeightFormat::Bf16 => Packed::Bf16(Bf16::pack(values, input, output)),
            WeightFormat::Int8 => Packed::Int8(Int8::pack(values, input, output)),
        }))))
    }

    /// The weight that products see, rounded as it is.
    ///
    /// # Shapes
    ///
    /// - output: `[input, output]`
    pub fn unpack(&self, device: &Device) -> Tensor<2> {
        let values = match &*self.0 {
            Packed::Single(weight) => weight.unpack(),
            Packed::Bf16(weight) => weight.unpack(),
            Packed::Int8(weight) => weight.unpack(),
        };
        Tensor::from_data(TensorData::new(values, self.dims()), (device, DType::F32))
    }

    /// `[input, output]`
    pub fn dims(&self) -> [usize; 2] {
        match &*self.0 {
            Packed::Single(weight) => [weight.input(), weight.output()],
            Packed::Bf16(weight) => [weight.input(), weight.output()],
            Packed::Int8(weight) => [weight.input(), weight.output()],
        }
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        match &*self.0 {
            Packed::Single(weight) => weight.size(),
            Packed::Bf16(weight) => weight.size(),
            Packed::Int8(weight) => weight.size(),
        }
    }
}

/// A linear layer with a packed weight, and its activation. Where gradients are kept it unpacks the weight first: the gradient
/// of `x` is that of the rounded weight, which has none itself.
///
/// # Shapes
///
/// - x: `[.., input]`, weight: `[input, output]`, bias: `[output]`, output: `[.., output]`
///
/// # Panics
///
/// If the sizes do not fit together.
pub fn packed_linear<const D: usize>(
    x: Tensor<D>,
    weight: &PackedWeight,
    bias: Option<Tensor<1>>,
    kind: Activation,
) -> Tensor<D> {
    let [input, output] = weight.dims();
    let mut shape = x.dims();
    assert_eq!(shape[D - 1], input, "rows of a packed weight {input} x {output}");
    let device = x.device();
    if !serves(&x) || device.is_autodiff() {
        let dtype = x.dtype();
        return linear_activation(x, weight.unpack(&device).cast(dtype), bias, kind);
    }
    if !is_fused(kind) {
        return activation(packed_linear(x, weight, bias, Activation::Identity), kind);
    }
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = output;
    let x = x.reshape([rows, input]).try_into_primitive::<Flex>().expect("the cpu device's own");
    let bias = bias.map(|bias| bias.try_into_primitive::<Flex>().expect("the cpu device's own"));
    Tensor::<2>::from_primitive::<Flex>(fused::packed_linear(x, &weight.0, bias, kind)).reshape(shape)
}
