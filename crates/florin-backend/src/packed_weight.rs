//! Weights of linear layers in the order, and the precision, in which the `cpu` device multiplies fastest: for inference.

use std::sync::Arc;

use burn::backend::Flex;
use burn::prelude::*;
use burn::tensor::DType;
use bytes::Bytes;

use crate::fused::{self, serves};
use crate::kernels::gapless::Gapless;
use crate::kernels::packed::Panels;
use crate::kernels::packed::bf16::Bf16;
use crate::kernels::packed::int8::{Int8, LONGEST};
use crate::kernels::packed::single::Single;
use crate::{Activation, BackendError, linear_activation};

/// How weights are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// Not at all.
    #[default]
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
            WeightFormat::F32 => Packed::Single(Single::pack(Gapless::Rows(values), input, output)),
            WeightFormat::Bf16 => Packed::Bf16(Bf16::pack(values, input, output)),
            WeightFormat::Int8 => Packed::Int8(Int8::pack(values, input, output)),
        }))))
    }

    /// A weight of another process, by its [`Self::bytes`] and [`Self::scales`]: the bytes are kept and read in place, so that a mapped file
    /// is loaded as it is used.
    ///
    /// # Errors
    ///
    /// If sizes do not fit together, or a number is infinite or none.
    pub fn from_bytes(
        format: WeightFormat,
        [input, output]: [usize; 2],
        bytes: Bytes,
        scales: Vec<f32>,
    ) -> Result<Self, BackendError> {
        let told = |reason| BackendError::PackedWeight { input, output, format: format.name(), reason };
        if cfg!(target_endian = "big") {
            return Err(told("the lower half of a number first, which this processor does not have".to_owned()));
        }
        // Whoever asks for more cannot hold it; sizes are multiplied below.
        let count = input.checked_mul(output).filter(|&count| count > 0 && count < usize::MAX >> 8);
        if count.is_none() {
            return Err(told("no such size".to_owned()));
        }
        let packed = match format {
            WeightFormat::F32 => Single::of(bytes, input, output).map(Packed::Single),
            WeightFormat::Bf16 => Bf16::of(bytes, input, output).map(Packed::Bf16),
            WeightFormat::Int8 => Int8::of(bytes, scales, input, output).map(Packed::Int8),
        };
        packed.map(|packed| Self(Arc::new(packed))).map_err(told)
    }

    /// How it is rounded.
    pub fn format(&self) -> WeightFormat {
        match &*self.0 {
            Packed::Single(_) => WeightFormat::F32,
            Packed::Bf16(_) => WeightFormat::Bf16,
            Packed::Int8(_) => WeightFormat::Int8,
        }
    }

    /// The numbers in memory, in the order in which they are read.
    pub fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Packed::Single(weight) => weight.bytes(),
            Packed::Bf16(weight) => weight.bytes(),
            Packed::Int8(weight) => weight.bytes(),
        }
    }

    /// What eight bits are multiplied by, for each output and some that fill up; none in other formats.
    pub fn scales(&self) -> &[f32] {
        match &*self.0 {
            Packed::Int8(weight) => weight.scales(),
            Packed::Single(_) | Packed::Bf16(_) => &[],
        }
    }

    /// The weight that products see, rounded as it is.
    ///
    /// # Shapes
    ///
    /// - output: `[input, output]`
    pub fn unpack(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values(), self.dims()), (device, DType::F32))
    }

    /// The same outside a device, row-major.
    pub fn values(&self) -> Vec<f32> {
        match &*self.0 {
            Packed::Single(weight) => weight.unpack(),
            Packed::Bf16(weight) => weight.unpack(),
            Packed::Int8(weight) => weight.unpack(),
        }
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
        // Beside each scale stands a sum of four bytes.
        self.bytes().len() + 8 * self.scales().len()
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
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = output;
    let x = x.reshape([rows, input]).try_into_primitive::<Flex>().expect("the cpu device's own");
    let bias = bias.map(|bias| bias.try_into_primitive::<Flex>().expect("the cpu device's own"));
    Tensor::<2>::from_primitive::<Flex>(fused::packed_linear(x, &weight.0, bias, kind)).reshape(shape)
}
