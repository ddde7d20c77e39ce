//! One fusion, used alone: two modalities of three tokens each, the second absent from one row.

use florin::backend;
use florin::fusion::{Fusion, Stream, TokenAttentionConfig};
use florin::nn::{Mask, Modality, Tokens};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let streams = vec![(Modality::Text, 16), (Modality::Image, 8)];
    let fusion = TokenAttentionConfig { streams, dim: 32, heads: 4 }.init(&device);
    let tokens = |dim| {
        let values = Tensor::random([2, 3, dim], Distribution::Normal(0.0, 1.0), &device);
        Tokens::new(values, Mask::from_lengths(&[3, 2], 3, &device))
    };
    let fused = fusion.fuse(&[
        Stream { modality: Modality::Text, tokens: tokens(16), present: vec![true, true] },
        Stream { modality: Modality::Image, tokens: tokens(8), present: vec![true, false] },
    ]);
    println!("embedding {:?}", fused.embedding.dims());
    println!("leaned on {}", fused.weights.ok_or("this fusion gives weights")?);
    Ok(())
}
