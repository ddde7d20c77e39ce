//! A pre-norm transformer block with the two-dimensional relative bias and hidden keys, against loops in Python.

use burn::module::Module;
use burn::prelude::*;
use florin_nn::{Mask, NormOrder, RelativeBias2d, TransformerBlock, TransformerBlockConfig};
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

/// The bias and the block, named as in the reference.
#[derive(Module, Debug)]
struct BiasedBlock {
    relative_bias: RelativeBias2d,
    block: TransformerBlock,
}

#[test]
fn golden_block_output_bias_loss_and_gradients() {
    let fixture = Fixture::open("block");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let module = filled(new(&fixture, &device));
    let x = fixture.input::<3>("x", &device).require_grad();
    let [_, seq, _] = x.dims();
    let mask = Mask::from_lengths(&fixture.config::<Vec<usize>>("lengths"), seq, &device);
    let (horizontal, vertical) = (fixture.input_ints("horizontal", &device), fixture.input_ints("vertical", &device));
    let bias = module.relative_bias.forward(horizontal, vertical);
    let output = module.block.forward(x.clone(), mask.for_attention(), Some(bias.clone()));
    let loss = (output.clone() * fixture.input::<3>("probe", &device)).sum();

    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("bias", bias, OUTPUT);
    comparison.tensor("output", output * mask.kept().unsqueeze_dim::<3>(2), OUTPUT);
    comparison.tensor("loss", loss.clone(), LOSS);
    let graph = loss.backward();
    comparison.tensor("gradient.x", x.grad(&graph).expect("x is tracked"), GRADIENT);
    comparison.gradients(&module, &Gradients::of(&module, graph));
    comparison.finish();
}

fn new(fixture: &Fixture, device: &Device) -> BiasedBlock {
    let heads = fixture.config("heads");
    let (dim, hidden) = (fixture.config("dim"), fixture.config("hidden"));
    let block = TransformerBlockConfig::new(dim, heads, hidden, 1e-5, NormOrder::Pre);
    BiasedBlock {
        relative_bias: RelativeBias2d::new(fixture.config("buckets"), heads, device),
        block: block.init(device),
    }
}
