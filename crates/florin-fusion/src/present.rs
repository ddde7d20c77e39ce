//! Shares among what is there: a softmax that gives the absent exactly nothing.

use burn::prelude::*;
use florin_backend::softmax;
use florin_nn::{Linear, normal, zeros};

/// Softmax along a dimension over what is not absent; all zeros where everything is.
///
/// Where everything is absent nothing is hidden from the softmax, whose result is then discarded: hiding all would give NaN,
/// and a gradient of NaN even to what is discarded.
pub(crate) fn shares<const D: usize>(scores: Tensor<D>, absent: Tensor<D, Bool>, dim: usize) -> Tensor<D> {
    let absent = absent.expand(scores.dims());
    let nothing = absent.clone().all_dim(dim).expand(absent.dims());
    let hidden = absent.clone().bool_and(nothing.bool_not());
    softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), dim).mask_fill(absent, 0.0)
}

/// A linear layer that keeps the size of its input: weights of deviation 1/√input.
///
/// Fusions multiply what they project, and a product of several vectors that BERT's 0.02 has made small has no gradient to
/// speak of.
pub(crate) fn projection(input: usize, output: usize, device: &Device) -> Linear {
    let weight = normal([input, output], 1.0 / (input as f64).sqrt(), device);
    Linear { weight, bias: Some(zeros([output], device)) }
}

/// How wide a layer's input is.
pub(crate) fn input_width(layer: &Linear) -> usize {
    let [input, _] = layer.weight.val().dims();
    input
}

/// How wide a layer's output is.
pub(crate) fn output_width(layer: &Linear) -> usize {
    let [_, output] = layer.weight.val().dims();
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_absent_have_no_share_and_an_empty_row_has_no_nan() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let scores = Tensor::<2>::from_data([[1.0, 500.0, 1.0], [3.0, 4.0, 5.0]], &device).require_grad();
        let absent = Tensor::from_data([[false, true, false], [true, true, true]], &device);
        let shares = shares(scores.clone(), absent, 1);
        let values = shares.clone().into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(values, [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
        let graph = (shares * Tensor::<2>::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device)).sum().backward();
        let gradient = scores.grad(&graph).expect("scores are tracked").into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(gradient, [-0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
    }
}
