//! The perceptron of a transformer block, plain or gated.
//!
//! Paper: Shazeer 2020 (gated linear units), <https://arxiv.org/abs/2002.05202>
//! Difference: any activation may stand in the gate; without a gate it is the usual two-layer perceptron.

use burn::prelude::*;
use florin_backend::Activation;

use crate::Linear;

/// `down(activation(up(x)))`, or with a gate `down(activation(gate(x)) ⊙ up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[dim, hidden]`, where the perceptron is gated.
    pub gate: Option<Linear>,
    /// `[dim, hidden]`
    pub up: Linear,
    /// `[hidden, dim]`
    pub down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// New weights, with biases.
    pub fn new(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        let linear = |input, output| Linear::new(input, output, device);
        Self { gate: None, up: linear(dim, hidden), down: linear(hidden, dim), activation }
    }

    /// The same without biases.
    pub fn without_biases(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        let linear = |input, output| Linear::without_bias(input, output, device);
        Self { gate: None, up: linear(dim, hidden), down: linear(hidden, dim), activation }
    }

    /// With a gate that has the activation: SwiGLU with [`Activation::Silu`], GeGLU with [`Activation::Gelu`].
    pub fn gated(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        Self { gate: Some(Linear::new(dim, hidden, device)), ..Self::new(dim, hidden, activation, device) }
    }

    /// The same without biases.
    pub fn gated_without_biases(dim: usize, hidden: usize, activation: Activation, device: &Device) -> Self {
        let gate = Some(Linear::without_bias(dim, hidden, device));
        Self { gate, ..Self::without_biases(dim, hidden, activation, device) }
    }

    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let hidden = match &self.gate {
            Some(gate) => gate.forward_activated(x.clone(), self.activation) * self.up.forward(x),
            None => self.up.forward_activated(x, self.activation),
        };
        self.down.forward(hidden)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;

    #[test]
    fn the_activation_stands_in_the_gate_and_not_behind_the_other_half() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let constant = |value: f32| Param::from_tensor(Tensor::<2>::full([1, 1], value, &device));
        let mut mlp = Mlp::gated_without_biases(1, 1, Activation::Relu, &device);
        mlp.gate.as_mut().expect("it is gated").weight = constant(1.0);
        mlp.up.weight = constant(-2.0);
        mlp.down.weight = constant(3.0);
        let x = Tensor::<2>::from_floats([[4.0], [-4.0]], &device);
        assert_eq!(mlp.forward(x).into_data().try_to_vec::<f32>().expect("f32"), [-96.0, 0.0]);
    }
}
