//! Early fusion: one transformer over three words and five sounds, the sounds absent from one row.

use florin::backend;
use florin::fusion::{Concatenation, EarlyConfig, Fusion, Stream};
use florin::nn::{Mask, Modality, Tokens};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let streams = vec![(Modality::Text, 16), (Modality::Audio, 8)];
    let concatenation = Concatenation::Tokens;
    let config = EarlyConfig { streams, dim: 32, heads: 4, layers: 2, positions: true, concatenation };
    config.validate()?;
    let fusion = config.init(&device);
    let tokens = |lengths: [usize; 2], seq, width| {
        let values = Tensor::random([2, seq, width], Distribution::Normal(0.0, 1.0), &device);
        Tokens::new(values, Mask::from_lengths(&lengths, seq, &device))
    };
    let text = Stream::tokens(Modality::Text, tokens([3, 2], 3, 16));
    let audio = Stream::tokens(Modality::Audio, tokens([5, 4], 5, 8)).present_in(vec![true, false]);
    let fused = fusion.fuse(&[text, audio]);
    println!("embedding {:?}", fused.embedding.dims());
    println!("tokens of the text {:?}", fused.tokens.ok_or("text is given")?.dims());
    Ok(())
}
