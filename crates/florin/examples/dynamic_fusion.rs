//! What dynamic fusion saves: the time of a batch by how many of its rows are easy, `cargo run -p florin --example dynamic_fusion`.
//!
//! The gate is set by hand, so that an indicator in the first modality says which branch a row takes: the measurement is of skipping,
//! not of learning.

use std::time::Instant;

use burn::module::Param;
use florin::backend;
use florin::fusion::{Dynamic, DynamicConfig, Stream};
use florin::nn::{Linear, Modality};
use florin::tensor::{Distribution, Tensor, TensorData};

const ROWS: usize = 512;
const WIDTH: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let streams = [Modality::Text, Modality::Image, Modality::Audio].map(|modality| (modality, WIDTH));
    let config = DynamicConfig::usual(streams.to_vec(), WIDTH);
    config.validate()?;
    let fusion = gated_by_the_first_number(config.init(&device), &device);
    for easy in [0, 50, 80, 100] {
        let batch: Vec<Stream> = streams.iter().map(|(modality, _)| stream(*modality, easy, &device)).collect();
        let chosen = fusion.fuse_hard(&batch);
        let cheap = chosen.taken.iter().filter(|taken| **taken == Some(0)).count();
        let best = (0..9).map(|_| {
            let start = Instant::now();
            let embedding = fusion.fuse_hard(&batch).fused.embedding;
            embedding.into_data();
            start.elapsed().as_secs_f64() * 1e3
        });
        let best = best.fold(f64::INFINITY, f64::min);
        println!(
            "{easy:>3} % easy: {cheap:>3} rows cheap, {:>6.1} M multiply-adds, {best:>7.2} ms",
            chosen.multiply_adds as f64 / 1e6
        );
    }
    Ok(())
}

/// Rows whose first number is 1 where they are easy and -1 where they are hard.
fn stream(modality: Modality, easy: usize, device: &florin::tensor::Device) -> Stream {
    let noise = Tensor::<2>::random([ROWS, WIDTH - 1], Distribution::Normal(0.0, 1.0), device);
    let indicator: Vec<f32> = (0..ROWS).map(|row| if row * 100 < easy * ROWS { 1.0 } else { -1.0 }).collect();
    let indicator = Tensor::from_data(TensorData::new(indicator, [ROWS, 1]), device);
    Stream::pooled(modality, Tensor::cat(vec![indicator, noise], 1))
}

/// The first branch scores GELU of the first number, about 0.84 or -0.16; the joint branch, the last, scores 0.3; others never win.
fn gated_by_the_first_number(mut fusion: Dynamic, device: &florin::tensor::Device) -> Dynamic {
    let one = |[rows, columns]: [usize; 2]| {
        let values: Vec<f32> = (0..rows * columns).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [rows, columns]), device))
    };
    let branches = fusion.branches.len();
    let mut scores = vec![-9.0; branches];
    (scores[0], scores[branches - 1]) = (0.0, 0.3);
    let scores = Tensor::from_data(TensorData::new(scores, [branches]), device);
    fusion.gate_hidden = Linear { weight: one(fusion.gate_hidden.weight.val().dims()), bias: None };
    let weight = one(fusion.gate_output.weight.val().dims());
    fusion.gate_output = Linear { weight, bias: Some(Param::from_tensor(scores)) };
    fusion
}
