//! The span loss, forward and backward, on the device that FLORIN_DEVICE names.

use burn::prelude::*;
use burn::tensor::Distribution;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use florin_losses::{SpanLoss, SpanScores};

fn span_loss(criterion: &mut Criterion) {
    let name = std::env::var("FLORIN_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = florin_backend::device(&name).expect("FLORIN_DEVICE names a device of this build").autodiff();
    let (batch, fields, words) = (8, 4, 130);
    let random = || Tensor::<3>::random([batch, fields, words], Distribution::Normal(0.0, 1.0), &device).require_grad();
    let (start, inside, end) = (random(), random(), random());
    let none = Tensor::<2>::zeros([batch, fields], &device);
    let marks: Vec<bool> = (0..batch * fields * words * words).map(|place| place % (words * words) == 5).collect();
    let gold = Tensor::from_data(TensorData::new(marks, [batch, fields, words, words]), &device);
    let mut group = criterion.benchmark_group("span_loss");
    group.bench_function(BenchmarkId::new("forward_backward_8x4x130", &name), |bencher| {
        bencher.iter(|| {
            let (start, inside, end) = (start.clone(), inside.clone(), end.clone());
            let scores = SpanScores { start, inside, end, none: none.clone() };
            let weight = Tensor::ones([batch, fields], &device);
            let gradients = SpanLoss { longest: 48 }.forward(scores, &[words; 8], gold.clone(), weight).loss.backward();
            device.sync().expect("the device finishes");
            gradients
        });
    });
    group.finish();
}

criterion_group!(benches, span_loss);
criterion_main!(benches);
