//! Blocks of two modalities: an absent source equals none, padding changes nothing, both directions are read at once.

use burn::prelude::*;
use burn::tensor::DType;

use super::{ROUNDING, assert_gradient, device, doubled, gap, loud, random};
use crate::{CoAttentionBlock, CoAttentionBlockConfig, CrossModalBlock, CrossModalBlockConfig, Mask};

fn cross(device: &Device) -> CrossModalBlock {
    loud(CrossModalBlockConfig { dim: 8, source_dim: 5, heads: 2, hidden: 12 }.init(device))
}

fn co_attention(device: &Device) -> CoAttentionBlock {
    loud(CoAttentionBlockConfig { dims: [8, 6], heads: [2, 3], hidden: [12, 10] }.init(device))
}

/// Values with NaN from a place on.
fn spoiled(x: &Tensor<3>, row: usize, from: usize) -> Tensor<3> {
    let [_, seq, dim] = x.dims();
    let nothing = Tensor::full([1, seq - from, dim], f32::NAN, &x.device());
    x.clone().slice_assign([row..row + 1, from..seq, 0..dim], nothing)
}

#[test]
fn the_sources_padding_is_not_read() {
    let device = device(1);
    let block = cross(&device);
    let (x, source) = (random([2, 3, 8], &device), random([2, 6, 5], &device));
    let mask = Mask::from_lengths(&[6, 2], 6, &device);
    let found = block.forward(x.clone(), spoiled(&source, 1, 2), Some(&mask));
    let row = |x: &Tensor<3>| x.clone().narrow(0, 1, 1);
    let alone = block.forward(row(&x), row(&source).narrow(1, 0, 2), None);
    assert!(gap(row(&found), alone) < ROUNDING);
    assert!(gap(found, block.forward(x, source, None)) > 1e-3, "what is hidden would have mattered");
}

#[test]
fn a_row_without_a_source_skips_the_reading() {
    let device = device(2);
    let mut block = cross(&device);
    let bias = block.attention.output.bias.take().expect("this layer has biases");
    block.attention.output.bias = Some(bias.map(|bias| bias + 1.0));
    let (x, source) = (random([2, 3, 8], &device), random([2, 6, 5], &device));
    let found = block.forward(x.clone(), spoiled(&source, 1, 0), Some(&Mask::from_lengths(&[6, 0], 6, &device)));
    let normed = block.mlp_norm.forward(x.clone());
    let expected = x + block.mlp.forward(normed);
    assert!(gap(found.clone().narrow(0, 1, 1), expected.clone().narrow(0, 1, 1)) < ROUNDING);
    assert!(gap(found.narrow(0, 0, 1), expected.narrow(0, 0, 1)) > 1e-2);
}

#[test]
fn both_streams_read_the_other_as_it_was() {
    let device = device(3);
    let block = co_attention(&device);
    let (first, second) = (random([2, 4, 8], &device), random([2, 3, 6], &device));
    let both = block.forward(first.clone(), second.clone(), None, None);
    let alone = block.second.forward(second.clone(), first.clone(), None);
    assert!(gap(both.second.clone(), alone) < ROUNDING);
    let changed = block.forward(random([2, 4, 8], &device), second, None, None);
    assert!(gap(both.second, changed.second) > 1e-3);
}

#[test]
fn an_absent_stream_is_not_read() {
    let device = device(4);
    let block = co_attention(&device);
    let (first, second) = (random([2, 4, 8], &device), random([2, 3, 6], &device));
    let masks = [([4, 2], 4), ([3, 0], 3)].map(|(lengths, seq)| Mask::from_lengths(&lengths, seq, &device));
    let found = block.forward(spoiled(&first, 1, 2), spoiled(&second, 1, 0), Some(&masks[0]), Some(&masks[1]));
    let again = block.forward(first.clone(), random([2, 3, 6], &device), Some(&masks[0]), Some(&masks[1]));
    let kept = |x: Tensor<3>| x.narrow(0, 1, 1).narrow(1, 0, 2);
    assert!(gap(kept(found.first), kept(again.first.clone())) < ROUNDING);
    let normed = block.first.attention_norm.forward(first.clone());
    let expected = block.first.mlp_norm.forward_added(block.first.mlp.forward(normed.clone()), normed);
    assert!(gap(kept(again.first), kept(expected)) < ROUNDING, "nothing is added before the norm");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device(5);
    let block = doubled(cross(&device));
    let x = random([2, 3, 8], &device).cast(DType::F64);
    let mask = Mask::from_lengths(&[4, 2], 4, &device);
    assert_gradient(&|source| block.forward(x.clone(), source, Some(&mask)), random([2, 4, 5], &device), 3);
    let block = doubled(co_attention(&device));
    let other = random([2, 4, 6], &device).cast(DType::F64);
    let run = |x: Tensor<3>| {
        let both = block.forward(x, other.clone(), None, Some(&mask));
        Tensor::cat(vec![both.first.reshape([2, 1, 24]), both.second.reshape([2, 1, 24])], 1)
    };
    assert_gradient(&run, random([2, 3, 8], &device), 3);
}
