//! A Perceiver resampler: pictures of any number of patches become four tokens each.

use florin::backend;
use florin::nn::{Mask, PerceiverResamplerConfig};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let config =
        PerceiverResamplerConfig { latents: 4, depth: 2, context_dim: 24, ..PerceiverResamplerConfig::flamingo(32) };
    config.validate()?;
    let resampler = config.init(&device);
    let patches: Tensor<3> = Tensor::random([2, 49, 24], Distribution::Normal(0.0, 1.0), &device);
    let mask = Mask::from_lengths(&[49, 30], 49, &device);
    println!("{:?} become {:?}", patches.dims(), resampler.forward(patches, Some(&mask)).dims());
    Ok(())
}
