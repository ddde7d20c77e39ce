//! A causal encoder of series: blocks of dilated convolutions that see the past only.
//!
//! Block `i` has two convolutions of `kernel_size` taps, `2^i` steps apart, each followed by a ReLU, and a shortcut:
//! `y = relu(relu(second(relu(first(x)))) + shortcut(x))`. The vector of a step has seen the last
//! `1 + 2 (kernel_size − 1) (2^blocks − 1)` steps.
//!
//! Paper: Bai et al. 2018 (TCN), <https://arxiv.org/abs/1803.01271>
//! Difference: weights are not split into direction and length (weight norm) and nothing is dropped; a checkpoint with weight norm
//! is multiplied out once. Each channel comes with a second one that says where it has a value: a missing one is zero there and here.

use burn::prelude::*;
use florin_backend::activation;
use florin_nn::{Activation, Encoded, Encoder, Linear, Mask, Modality, Tokens};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, check_size};

/// Sizes of the encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporalConvolutionConfig {
    /// Channels of the series.
    pub input_channels: usize,
    /// Width of each block, lowest first.
    pub channels: Vec<usize>,
    /// Taps of a convolution.
    pub kernel_size: usize,
}

/// A batch of series.
#[derive(Clone, Debug)]
pub struct TemporalConvolutionInput {
    /// `[batch, steps, channels]`
    pub values: Tensor<3>,
    /// `[batch, steps, channels]`, true where there is a value; everywhere but at NaN unless given.
    pub observed: Option<Tensor<3, Bool>>,
    /// Which steps are real, `[batch, steps]`; padding may stand on either side.
    pub mask: Mask,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct TemporalConvolutionEncoder {
    /// The blocks, lowest first.
    pub blocks: Vec<TemporalBlock>,
    dim: usize,
}

/// Two causal convolutions and a shortcut. Each is a matrix over the taps of a step, in the order channel, tap.
#[derive(Module, Debug)]
pub struct TemporalBlock {
    /// `[input · kernel_size, output]`
    pub first: Linear,
    /// `[output · kernel_size, output]`
    pub second: Linear,
    /// `[input, output]`, where the two differ.
    pub shortcut: Option<Linear>,
    kernel_size: usize,
    dilation: usize,
}

impl TemporalConvolutionConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "temporal convolution";
        check_size(encoder, "input_channels", self.input_channels, 1, 65_536)?;
        check_size(encoder, "kernel_size", self.kernel_size, 1, 1_024)?;
        check_size(encoder, "number of channels", self.channels.len(), 1, 16)?;
        self.channels.iter().try_for_each(|&width| check_size(encoder, "channels", width, 1, 16_384))
    }

    /// How many steps, its own included, have a part in the vector of a step.
    pub fn receptive_field(&self) -> usize {
        1 + 2 * (self.kernel_size - 1) * ((1 << self.channels.len()) - 1)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<TemporalConvolutionEncoder, ConfigError> {
        self.validate()?;
        let inputs = std::iter::once(2 * self.input_channels).chain(self.channels.iter().copied());
        let blocks = inputs.zip(&self.channels).enumerate().map(|(level, (input, &output))| TemporalBlock {
            first: Linear::new(input * self.kernel_size, output, device),
            second: Linear::new(output * self.kernel_size, output, device),
            shortcut: (input != output).then(|| Linear::new(input, output, device)),
            kernel_size: self.kernel_size,
            dilation: 1 << level,
        });
        let blocks: Vec<TemporalBlock> = blocks.collect();
        Ok(TemporalConvolutionEncoder { dim: self.channels[self.channels.len() - 1], blocks })
    }
}

impl TemporalConvolutionEncoder {
    /// What each block gives; zero at steps that are not real.
    ///
    /// # Shapes
    ///
    /// - values: `[batch, steps, channels]`
    /// - outputs: `[batch, steps, width of the block]`
    pub fn forward(&self, input: &TemporalConvolutionInput) -> Vec<Tensor<3>> {
        let mask = &input.mask;
        let mut x = mask.zeroed(with_presence(input.values.clone(), input.observed.clone()));
        let mut states = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.forward(x, mask);
            states.push(x.clone());
        }
        states
    }
}

impl TemporalBlock {
    /// # Shapes
    ///
    /// - x: `[batch, steps, input]`, zero at steps that are not real
    /// - output: `[batch, steps, output]`, the same
    pub fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let taps = |x| causal_taps(x, self.kernel_size, self.dilation);
        let inner = mask.zeroed(self.first.forward_activated(taps(x.clone()), Activation::Relu));
        let inner = self.second.forward_activated(taps(inner), Activation::Relu);
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        mask.zeroed(activation(inner + shortcut, Activation::Relu))
    }
}

impl Encoder for TemporalConvolutionEncoder {
    type Input = TemporalConvolutionInput;

    fn modality(&self) -> Modality {
        Modality::Series
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// Pooled is the vector of the last real step, which has seen most.
    fn encode(&self, input: TemporalConvolutionInput) -> Encoded {
        let mut states = self.forward(&input);
        let last = states.pop().expect("a validated configuration has a block");
        let pooled = last_kept(last.clone(), &input.mask);
        Encoded { modality: Modality::Series, pooled, tokens: Tokens::new(last, input.mask) }
    }
}

/// The vector of each row's last kept step, zero for a row that keeps none.
///
/// # Shapes
///
/// - x: `[batch, steps, dim]`, zero where not kept
/// - output: `[batch, dim]`
pub fn last_kept(x: Tensor<3>, mask: &Mask) -> Tensor<2> {
    let [batch, steps, dim] = x.dims();
    let numbers = Tensor::<1, Int>::arange(1..steps as i64 + 1, &x.device()).reshape([1, steps]).expand([batch, steps]);
    let last = numbers.mask_fill(mask.hidden(), 0).argmax(1).reshape([batch, 1, 1]).expand([batch, 1, dim]);
    x.gather(1, last).squeeze_dim(1)
}

/// The series with missing values as zeros, and behind its channels one each that is 1 where there is a value.
fn with_presence(values: Tensor<3>, observed: Option<Tensor<3, Bool>>) -> Tensor<3> {
    let missing = match observed {
        Some(observed) => observed.bool_not().bool_or(values.clone().is_nan()),
        None => values.clone().is_nan(),
    };
    let present = missing.clone().bool_not().float().cast(values.dtype());
    Tensor::cat(vec![values.mask_fill(missing, 0.0), present], 2)
}

/// What the taps of a causal convolution see at each step, channel by channel, the earliest first; zeros before the series.
///
/// # Shapes
///
/// - x: `[batch, steps, channels]`
/// - output: `[batch, steps, channels · kernel_size]`
fn causal_taps(x: Tensor<3>, kernel_size: usize, dilation: usize) -> Tensor<3> {
    let [batch, steps, channels] = x.dims();
    let before = (kernel_size - 1) * dilation;
    if before == 0 {
        return x;
    }
    let padded = Tensor::cat(vec![Tensor::zeros([batch, before, channels], (&x.device(), x.dtype())), x], 1);
    let taps = (0..kernel_size).map(|tap| padded.clone().narrow(1, tap * dilation, steps));
    Tensor::stack::<4>(taps.collect(), 3).reshape([batch, steps, channels * kernel_size])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn config() -> TemporalConvolutionConfig {
        TemporalConvolutionConfig { input_channels: 2, channels: vec![6, 5], kernel_size: 3 }
    }

    fn input(values: Tensor<3>, lengths: &[usize]) -> TemporalConvolutionInput {
        let [_, steps, _] = values.dims();
        let mask = Mask::from_lengths(lengths, steps, &values.device());
        TemporalConvolutionInput { values, observed: None, mask }
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("f32")
    }

    /// The encoder with weights that let every tap through.
    fn encoder(config: &TemporalConvolutionConfig, device: &Device) -> TemporalConvolutionEncoder {
        let encoder = config.init(device).unwrap();
        florin_nn::parameters::assign(encoder, &mut |_, shape| {
            Some((0..shape.iter().product::<usize>()).map(|index| 0.05 + 0.01 * (index % 7) as f32).collect())
        })
    }

    #[test]
    fn the_future_never_changes_the_past_and_the_past_reaches_as_far_as_the_formula_says() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        // With two blocks, dilations that grow by one would be the same.
        let config = TemporalConvolutionConfig { channels: vec![6, 5, 4], ..config() };
        let (encoder, field) = (encoder(&config, &device), config.receptive_field());
        assert_eq!(field, 29);
        let values = Tensor::<3>::random([1, 40, 2], Distribution::Uniform(0.5, 1.0), &device);
        let last = |values: Tensor<3>| encoder.forward(&input(values, &[40])).pop().expect("three blocks");
        let before = last(values.clone());
        let changed = 4;
        let poked = values.slice_assign([0..1, changed..changed + 1, 0..1], Tensor::full([1, 1, 1], 9.0, &device));
        let change = (last(poked) - before).abs().sum_dim(2);
        let moved: Vec<bool> = floats(change).into_iter().map(|change| change > 0.0).collect();
        let expected: Vec<bool> = (0..40).map(|step| (changed..changed + field).contains(&step)).collect();
        assert_eq!(moved, expected);
    }

    #[test]
    fn a_row_alone_is_the_same_row_with_padding_on_either_side() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = encoder(&config(), &device);
        let values = Tensor::<3>::random([1, 4, 2], Distribution::Default, &device);
        let alone = floats(encoder.encode(input(values.clone(), &[4])).pooled);
        let garbage = || Tensor::<3>::full([1, 3, 2], f32::NAN, &device);
        for (parts, kept) in [
            (vec![values.clone(), garbage()], [true, true, true, true, false, false, false]),
            (vec![garbage(), values.clone()], [false, false, false, true, true, true, true]),
        ] {
            let mask = Mask::from_kept(&kept, 1, 7, &device);
            let padded = TemporalConvolutionInput { values: Tensor::cat(parts, 1), observed: None, mask };
            assert_eq!(floats(encoder.encode(padded).pooled), alone);
        }
    }

    #[test]
    fn a_missing_value_is_not_a_zero_and_what_stands_there_never_matters() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = encoder(&config(), &device);
        let pooled = |value: f32, observed: Option<bool>| {
            let values = Tensor::<3>::ones([1, 3, 2], &device);
            let values = values.slice_assign([0..1, 1..2, 0..1], Tensor::full([1, 1, 1], value, &device));
            let observed = observed.map(|observed| {
                let marks = [true, true, observed, true, true, true];
                Tensor::<3, Bool>::from_data(TensorData::new(marks.to_vec(), [1, 3, 2]), &device)
            });
            floats(encoder.encode(TemporalConvolutionInput { observed, ..input(values, &[3]) }).pooled)
        };
        let missing = pooled(0.0, Some(false));
        for other in [pooled(7.0, Some(false)), pooled(f32::NAN, Some(false)), pooled(f32::NAN, None)] {
            assert_eq!(other, missing);
        }
        assert_ne!(pooled(0.0, Some(true)), missing);
    }

    #[test]
    fn sizes_are_bounded() {
        let error = TemporalConvolutionConfig { channels: vec![], ..config() }.validate().unwrap_err().to_string();
        assert_eq!(error, "temporal convolution: number of channels must lie between 1 and 16, found 0");
        assert!(TemporalConvolutionConfig { kernel_size: 0, ..config() }.validate().is_err());
    }
}
