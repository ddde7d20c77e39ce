//! Attention that decides from its input: how far each token looked, and how many of its weights are exactly zero.

use florin::backend;
use florin::nn::{DynamicAttentionConfig, Weighing};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let (span, ramp, weighing) = (8.0, 4.0, Weighing::Sparsemax);
    let config = DynamicAttentionConfig { dim: 16, heads: 2, span, ramp, causal: true, weighing };
    config.validate()?;
    let attention = config.init(&device);
    let tokens: Tensor<3> = Tensor::random([1, 32, 16], Distribution::Normal(0.0, 10.0), &device);
    println!("mean span {}", attention.decisions(tokens.clone()).span.mean().into_scalar::<f32>());
    let zeros = attention.weights(tokens, None).equal_scalar(0.0).float().mean();
    println!("share of weights that are zero {}", zeros.into_scalar::<f32>());
    Ok(())
}
