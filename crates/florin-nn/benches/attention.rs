//! Every kind of attention at the size of a small model's layer: 8 sequences of 128 tokens of width 256, 8 heads.

#[path = "frame/mod.rs"]
mod frame;

use burn::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use florin_nn::{Activation, AttentionConfig, Mask, NormOrder, TransformerBlockConfig};
use frame::{Cases, random};

const BATCH: usize = 8;
const SEQ: usize = 128;
const DIM: usize = 256;
const HEADS: usize = 8;
/// Tokens and width of another modality.
const CONTEXT: [usize; 2] = [64, 192];

fn attention(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "attention");
    let tokens = |device: &Device| random([BATCH, SEQ, DIM], device);
    let context = |device: &Device| random([BATCH, CONTEXT[0], CONTEXT[1]], device);
    cases.block("self", |device| {
        let (layer, x) = (AttentionConfig::new(DIM, HEADS).init(device), tokens(device));
        move || layer.forward(x.clone(), x.clone(), None, None)
    });
    cases.block("self_padded", |device| {
        let (layer, x) = (AttentionConfig::new(DIM, HEADS).init(device), tokens(device));
        let lengths: Vec<usize> = (0..BATCH).map(|row| SEQ - 8 * row).collect();
        let mask = Mask::from_lengths(&lengths, SEQ, &device.clone().without_autodiff());
        move || layer.forward(x.clone(), x.clone(), mask.for_attention(), None)
    });
    cases.block("cross", |device| {
        let layer = AttentionConfig::new(DIM, HEADS).with_context_dim(CONTEXT[1]).init(device);
        let (x, context) = (tokens(device), context(device));
        move || layer.forward(x.clone(), context.clone(), None, None)
    });
    cases.block("transformer_block", |device| {
        let (activation, order) = (Activation::Gelu, NormOrder::Pre);
        let sizes =
            TransformerBlockConfig { dim: DIM, heads: HEADS, hidden: 4 * DIM, activation, epsilon: 1e-5, order };
        let (block, x) = (sizes.init(device), tokens(device));
        move || block.forward(x.clone(), None, None)
    });
}

criterion_group!(benches, attention);
criterion_main!(benches);
