//! Gated fusion, used alone: how much each modality may say, for a row that has both and one that lacks the picture.

use florin::backend;
use florin::fusion::{Fusion, GatedConfig, Stream};
use florin::nn::Modality;
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let config = GatedConfig { streams: vec![(Modality::Text, 16), (Modality::Image, 8)], dim: 32 };
    config.validate()?;
    let vectors = |width| Tensor::random([2, width], Distribution::Normal(0.0, 1.0), &device);
    let text = Stream::pooled(Modality::Text, vectors(16));
    let image = Stream::pooled(Modality::Image, vectors(8)).present_in(vec![true, false]);
    let fused = config.init(&device).fuse(&[text, image]);
    println!("embedding {:?}, weights {}", fused.embedding.dims(), fused.weights.ok_or("gates are weights")?);
    Ok(())
}
