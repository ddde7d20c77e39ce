//! A sliding window over a long series: twenty thousand steps, each of which sees itself and the sixty-three before it.

use std::time::Instant;

use florin::backend;
use florin::nn::{AttentionConfig, SlidingWindow};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let attention = AttentionConfig::new(16, 2).init(&device);
    let steps: Tensor<3> = Tensor::random([1, 20_000, 16], Distribution::Normal(0.0, 1.0), &device);
    let start = Instant::now();
    let output = attention.forward_windowed(steps, SlidingWindow::causal(64), None, None);
    println!("mean {} after {:.2?}", output.clone().mean().into_scalar::<f32>(), start.elapsed());
    println!("{:?}; a mask of all pairs would hold 400 million marks", output.dims());
    Ok(())
}
