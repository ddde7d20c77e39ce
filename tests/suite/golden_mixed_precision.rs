//! Mixed precision against an oracle that rounds factors as PyTorch's bfloat16 does, and writes the way back out.

use burn::prelude::*;
use florin_backend::{in_mixed_precision, linear};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};

#[test]
fn golden_linear_layer_in_mixed_precision() {
    let fixture = Fixture::open("mixed_linear");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let x = fixture.input::<2>("x", &device).require_grad();
    let weight = fixture.input::<2>("weight", &device).require_grad();
    let bias = fixture.input::<1>("bias", &device).require_grad();
    let output = in_mixed_precision(|| linear(x.clone(), weight.clone(), Some(bias.clone())));
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("output", output.clone(), OUTPUT);
    let loss = (output * fixture.input::<2>("probe", &device)).sum();
    comparison.tensor("loss", loss.clone(), LOSS);
    let graph = loss.backward();
    let gradient = |of: Option<Tensor<2>>| of.expect("it was tracked");
    comparison.tensor("gradient.x", gradient(x.grad(&graph)), GRADIENT);
    comparison.tensor("gradient.weight", gradient(weight.grad(&graph)), GRADIENT);
    comparison.tensor("gradient.bias", bias.grad(&graph).expect("it was tracked"), GRADIENT);
    comparison.finish();
}
