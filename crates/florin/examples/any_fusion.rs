//! Any kind of fusion by its name, and modality dropout before it: `cargo run -p florin --example any_fusion low_rank`.

use florin::backend;
use florin::fusion::{Fusion, FusionConfig, ModalityDropout, Stream};
use florin::nn::Modality;
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let kind = std::env::args().nth(1).unwrap_or("adaptive_hierarchical".to_owned());
    let widths = vec![(Modality::Text, 16), (Modality::Series, 8), (Modality::Table, 4)];
    let config = FusionConfig::usual(&kind, widths.clone(), 32, 4)?;
    config.validate()?;
    let vectors = |width| Tensor::random([4, width], Distribution::Normal(0.0, 1.0), &device);
    let streams = widths.into_iter().map(|(modality, width)| Stream::pooled(modality, vectors(width))).collect();
    let dropout = ModalityDropout { rate: 0.5, seed: 7 };
    dropout.validate()?;
    let fused = config.init(&device).fuse(&dropout.apply(streams, 0));
    println!("{}: embedding {:?}", config.kind(), fused.embedding.dims());
    if let Some(weights) = fused.weights {
        println!("leaned on {weights}");
    }
    Ok(())
}
