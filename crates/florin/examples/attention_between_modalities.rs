//! Three ways for words and patches to meet: one reads the other, both read each other, both exchange through four tokens.

use florin::backend;
use florin::nn::{BottleneckLayerConfig, CoAttentionBlockConfig, CrossModalBlockConfig, Mask};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let random = |seq| Tensor::<3>::random([2, seq, 32], Distribution::Normal(0.0, 1.0), &device);
    let (words, patches, shared) = (random(6), random(9), random(4));
    // The second row has four words and no picture.
    let masks = [Mask::from_lengths(&[6, 4], 6, &device), Mask::from_lengths(&[9, 0], 9, &device)];

    let cross = CrossModalBlockConfig { dim: 32, source_dim: 32, heads: 4, hidden: 64 };
    cross.validate()?;
    println!("read: {:?}", cross.init(&device).forward(words.clone(), patches.clone(), Some(&masks[1])).dims());

    let both = CoAttentionBlockConfig { dims: [32, 32], heads: [4, 4], hidden: [64, 64] };
    both.validate()?;
    let met = both.init(&device).forward(words.clone(), patches.clone(), Some(&masks[0]), Some(&masks[1]));
    println!("read each other: {:?} and {:?}", met.first.dims(), met.second.dims());

    let layer = BottleneckLayerConfig { dim: 32, heads: 4, hidden: 64, modalities: 2, epsilon: 1e-6 };
    layer.validate()?;
    let (streams, shared) = layer.init(&device).forward(vec![words, patches], &masks, shared);
    println!("through {} tokens: {:?} and {:?}", shared.dims()[1], streams[0].dims(), streams[1].dims());
    Ok(())
}
