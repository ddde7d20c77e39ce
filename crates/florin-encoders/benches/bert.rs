//! MiniLM's sizes on eight sequences of 128 pieces, on the device that FLORIN_DEVICE names.

use burn::prelude::*;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use florin_encoders::{BertConfig, BertInput};
use florin_nn::Mask;

fn minilm(criterion: &mut Criterion) {
    let name = std::env::var("FLORIN_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = florin_backend::device(&name).expect("FLORIN_DEVICE names a device of this build");
    let encoder = BertConfig {
        vocab_size: 30_522,
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1_536,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    }
    .init(&device);
    let ids: Vec<i32> = (0..8 * 128).map(|place| 1_000 + place % 900).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [8, 128]), &device);
    let mut group = criterion.benchmark_group("bert");
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("minilm_8x128", &name), |bencher| {
        bencher.iter(|| {
            let input = BertInput::new(ids.clone(), Mask::all_kept(8, 128, &device));
            let tokens = encoder.forward(input);
            device.sync().expect("the device finishes");
            tokens
        });
    });
    group.finish();
}

criterion_group!(benches, minilm);
criterion_main!(benches);
