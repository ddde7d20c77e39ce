//! A gated recurrent unit: a causal summary of a sequence, one state a step.
//!
//! `r = σ(W_r x + b_r + U_r h + c_r)`, `u = σ(W_u x + b_u + U_u h + c_u)`, `n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))`,
//! `h' = (1 − u) ⊙ n + u ⊙ h`.
//!
//! Paper: Cho et al. 2014, <https://arxiv.org/abs/1406.1078>
//! Difference: the reset gate follows the product with U_n instead of preceding it, as in cuDNN and PyTorch, so that all of a step is
//! one product.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::activation::sigmoid;
use florin_backend::{Activation, activation};

use crate::Linear;

/// One layer, in PyTorch's order of gates: reset, update, new.
#[derive(Module, Debug)]
pub struct Gru {
    /// W and b, `[input, 3 · hidden]`; PyTorch's `weight_ih_l0` and `bias_ih_l0`.
    pub input: Linear,
    /// U and c, `[hidden, 3 · hidden]`; PyTorch's `weight_hh_l0` and `bias_hh_l0`.
    pub recurrent: Linear,
}

impl Gru {
    /// Weights and biases uniform within `1/√hidden`, as PyTorch starts.
    pub fn new(input: usize, hidden: usize, device: &Device) -> Self {
        let most = 1.0 / (hidden as f64).sqrt();
        let spread = Distribution::Uniform(-most, most);
        let linear = |input: usize| Linear {
            weight: Param::from_tensor(Tensor::random([input, 3 * hidden], spread, device)),
            bias: Some(Param::from_tensor(Tensor::random([3 * hidden], spread, device))),
        };
        Self { input: linear(input), recurrent: linear(hidden) }
    }

    /// Every state; the last is where to go on from. A step sees itself and earlier ones only, so that padding at the end is harmless.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, time, input]`
    /// - state: `[batch, hidden]`, zeros unless given
    /// - output: `[batch, time, hidden]`
    pub fn forward(&self, x: Tensor<3>, state: Option<Tensor<2>>) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        let [hidden, _] = self.recurrent.weight.dims();
        let from_input = self.input.forward(x); // [batch, time, 3 * hidden]
        let mut state =
            state.unwrap_or_else(|| Tensor::<2>::zeros([batch, hidden], &from_input.device()).cast(from_input.dtype()));
        let mut states = Vec::with_capacity(time);
        for step in 0..time {
            let now = from_input.clone().narrow(1, step, 1).reshape([batch, 3 * hidden]);
            let before = self.recurrent.forward(state.clone());
            let gate = |gates: &Tensor<2>, index: usize| gates.clone().narrow(1, index * hidden, hidden);
            let reset = sigmoid(gate(&now, 0) + gate(&before, 0));
            let update = sigmoid(gate(&now, 1) + gate(&before, 1));
            let new = activation(gate(&now, 2) + reset * gate(&before, 2), Activation::Tanh);
            state = new.clone() + update * (state - new);
            states.push(state.clone().unsqueeze_dim::<3>(1));
        }
        Tensor::cat(states, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_step_sees_nothing_that_comes_later() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 1);
        let gru = Gru::new(3, 4, &device);
        let x = Tensor::<3>::random([2, 6, 3], Distribution::Normal(0.0, 1.0), &device);
        let changed = Tensor::cat(vec![x.clone().narrow(1, 0, 4), x.clone().narrow(1, 4, 2) + 1.0], 1);
        let [before, after] = [x, changed].map(|x| gru.forward(x, None));
        assert_eq!(values(before.clone().narrow(1, 0, 4)), values(after.clone().narrow(1, 0, 4)));
        let later = |states: Tensor<3>| values(states.narrow(1, 4, 1));
        assert!(later(before) != later(after), "the changed step itself must show");
    }

    #[test]
    fn a_sequence_in_two_halves_is_the_whole() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 2);
        let gru = Gru::new(3, 4, &device);
        let x = Tensor::<3>::random([2, 5, 3], Distribution::Normal(0.0, 1.0), &device);
        let whole = gru.forward(x.clone(), None);
        let first = gru.forward(x.clone().narrow(1, 0, 2), None);
        let state = first.clone().narrow(1, 1, 1).reshape([2, 4]);
        let halves = Tensor::cat(vec![first, gru.forward(x.narrow(1, 2, 3), Some(state))], 1);
        assert_eq!(values(whole), values(halves));
    }
}
