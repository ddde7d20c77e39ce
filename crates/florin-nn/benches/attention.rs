//! Every kind of attention at the size of a small model's layer: 8 sequences of 128 tokens of width 256, 8 heads.

#[path = "frame/mod.rs"]
mod frame;

use burn::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use florin_nn::{
    AttentionConfig, BottleneckLayerConfig, CoAttentionBlockConfig, Conditions, CrossModalBlockConfig,
    DynamicAttentionConfig, HierarchicalAttentionConfig, Mask, NormOrder, Pairing, PerceiverResamplerConfig,
    RelativeBiasConfig, Rotary, Sides, SlidingWindow, TransformerBlockConfig, Weighing, alibi_bias,
};
use frame::{Cases, random};

const BATCH: usize = 8;
const SEQ: usize = 128;
const DIM: usize = 256;
const HEADS: usize = 8;
/// Tokens and width of another modality.
const CONTEXT: [usize; 2] = [64, 192];

fn attention(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "attention");
    cases.block("self", |device| under(AttentionConfig::new(DIM, HEADS), device, Conditions::default));
    cases.block("self_padded", |device| {
        let hidden = padding(device).for_attention();
        let conditions = move || Conditions { hidden: hidden.clone(), ..Conditions::default() };
        under(AttentionConfig::new(DIM, HEADS), device, conditions)
    });
    cases.block("causal", |device| {
        under(AttentionConfig::new(DIM, HEADS), device, || Conditions { causal: true, ..Conditions::default() })
    });
    for (name, key_heads) in [("grouped_query", 2), ("multi_query", 1)] {
        let config = AttentionConfig::new(DIM, HEADS).with_key_heads(key_heads);
        cases.block(name, |device| under(config.clone(), device, Conditions::default));
    }
    for (name, pairing) in [("rotary_halves", Pairing::Halves), ("rotary_interleaved", Pairing::Interleaved)] {
        let rotary = Some(Rotary::new(pairing));
        let conditions = || Conditions { rotary, ..Conditions::default() };
        cases.block(name, |device| under(AttentionConfig::new(DIM, HEADS), device, conditions));
    }
    cases.block("alibi", |device| {
        let bias = alibi_bias(HEADS, SEQ, SEQ, device);
        under(AttentionConfig::new(DIM, HEADS), device, move || Conditions {
            bias: Some(bias.clone()),
            ..Conditions::default()
        })
    });
    cases.block("relative_bias", |device| {
        let bias = RelativeBiasConfig::t5(HEADS, Sides::Both).init(device);
        let conditions = move || Conditions { bias: Some(bias.forward(SEQ, SEQ)), ..Conditions::default() };
        under(AttentionConfig::new(DIM, HEADS), device, conditions)
    });
    cases.block("sliding_window", |device| {
        let (layer, x) = (AttentionConfig::new(DIM, HEADS).init(device), random([2, 1024, DIM], device));
        move || layer.forward_windowed(x.clone(), SlidingWindow::around(32), None, None)
    });
    for (name, weighing) in [("dynamic_softmax", Weighing::Softmax), ("dynamic_sparsemax", Weighing::Sparsemax)] {
        let config = DynamicAttentionConfig { dim: DIM, heads: HEADS, span: 64.0, ramp: 32.0, causal: false, weighing };
        cases.block(name, |device| {
            let (layer, x) = (config.init(device), tokens(device));
            move || layer.forward(x.clone(), None)
        });
    }
    blocks(&mut cases);
}

/// Layers that read another modality, squeeze tokens through a few, or make many vectors one.
fn blocks(cases: &mut Cases<'_>) {
    cases.block("transformer_block", |device| {
        let sizes = TransformerBlockConfig::new(DIM, HEADS, 4 * DIM, 1e-5, NormOrder::Pre);
        let (block, x) = (sizes.init(device), tokens(device));
        move || block.forward(x.clone(), None, None)
    });
    cases.block("cross", |device| {
        let layer = AttentionConfig::new(DIM, HEADS).with_context_dim(CONTEXT[1]).init(device);
        let (x, context) = (tokens(device), context(device));
        move || layer.forward(x.clone(), context.clone(), None, None)
    });
    cases.block("cross_modal_block", |device| {
        let config = CrossModalBlockConfig { dim: DIM, source_dim: CONTEXT[1], heads: HEADS, hidden: 4 * DIM };
        let (block, x, source) = (config.init(device), tokens(device), context(device));
        move || block.forward(x.clone(), source.clone(), None)
    });
    cases.block("co_attention_block", |device| {
        let dims = [DIM, CONTEXT[1]];
        let config = CoAttentionBlockConfig { dims, heads: [HEADS; 2], hidden: dims.map(|dim| 4 * dim) };
        let (block, first, second) = (config.init(device), tokens(device), context(device));
        move || {
            let both = block.forward(first.clone(), second.clone(), None, None);
            Tensor::cat(vec![both.first.flatten::<1>(0, 2), both.second.flatten::<1>(0, 2)], 0)
        }
    });
    cases.block("bottleneck_layer", |device| {
        let layer = BottleneckLayerConfig { dim: DIM, heads: HEADS, hidden: 4 * DIM, modalities: 2, epsilon: 1e-6 }
            .init(device);
        let (streams, shared) = ([tokens(device), tokens(device)], random([BATCH, 4, DIM], device));
        let mask = Mask::all_kept(BATCH, SEQ, &device.clone().without_autodiff());
        move || {
            let (mut all, shared) = layer.forward(streams.to_vec(), &[mask.clone(), mask.clone()], shared.clone());
            all.push(shared);
            Tensor::cat(all, 1)
        }
    });
    cases.block("perceiver_resampler", |device| {
        let (latents, head_dim) = (32, DIM / HEADS);
        let config = PerceiverResamplerConfig {
            dim: DIM,
            context_dim: CONTEXT[1],
            latents,
            depth: 2,
            heads: HEADS,
            head_dim,
            keys_with_latents: true,
        };
        let (resampler, media) = (config.init(device), random([BATCH, SEQ, CONTEXT[1]], device));
        move || resampler.forward(media.clone(), None)
    });
    cases.block("hierarchical", |device| {
        let (steps, segments, seq) = (4, 4, 16);
        let config = HierarchicalAttentionConfig { dim: DIM, attention_dim: DIM, heads: Some(HEADS) };
        let (levels, tokens) = (config.init(device), random([BATCH, steps, segments, seq, DIM], device));
        let marks = TensorData::new(vec![false; BATCH * steps * segments * seq], [BATCH, steps, segments, seq]);
        let hidden = Tensor::<4, Bool>::from_data(marks, &device.clone().without_autodiff());
        move || levels.forward(tokens.clone(), hidden.clone())
    });
}

/// Self-attention under conditions, which are made anew for each call where they have weights of their own.
fn under<C: Fn() -> Conditions>(
    config: AttentionConfig,
    device: &Device,
    conditions: C,
) -> impl FnMut() -> Tensor<3> + use<C> {
    let (layer, x) = (config.init(device), tokens(device));
    move || layer.forward_under(x.clone(), x.clone(), conditions())
}

fn tokens(device: &Device) -> Tensor<3> {
    random([BATCH, SEQ, DIM], device)
}

fn context(device: &Device) -> Tensor<3> {
    random([BATCH, CONTEXT[0], CONTEXT[1]], device)
}

/// Rows from the full length down, 8 tokens less each.
fn padding(device: &Device) -> Mask {
    let lengths: Vec<usize> = (0..BATCH).map(|row| SEQ - 8 * row).collect();
    Mask::from_lengths(&lengths, SEQ, &device.clone().without_autodiff())
}

criterion_group!(benches, attention);
criterion_main!(benches);
