//! Positions for attention: turned queries and keys, slopes by distance, and a learned number a bucket of distances.

use florin::backend;
use florin::nn::{AttentionConfig, Conditions, Pairing, RelativeBiasConfig, Rotary, Sides, alibi_bias};
use florin::tensor::{Distribution, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let attention = AttentionConfig::new(32, 4).init(&device);
    let tokens: Tensor<3> = Tensor::random([1, 6, 32], Distribution::Normal(0.0, 1.0), &device);
    let relative = RelativeBiasConfig::t5(4, Sides::Both);
    relative.validate()?;
    let ways = [
        ("none", Conditions::default()),
        ("rotary", Conditions { rotary: Some(Rotary::new(Pairing::Halves)), ..Default::default() }),
        ("ALiBi", Conditions { bias: Some(alibi_bias(4, 6, 6, &device)), ..Default::default() }),
        ("relative", Conditions { bias: Some(relative.init(&device).forward(6, 6)), ..Default::default() }),
    ];
    let exchanged = |x: Tensor<3>| x.select(1, Tensor::<1, Int>::from_ints([1, 0, 2, 3, 4, 5], &device));
    for (name, conditions) in ways {
        let read = |x: Tensor<3>| attention.forward_under(x.clone(), x, conditions.clone());
        // Without positions it does not matter that two tokens changed places; relative biases are zero until they have learned.
        let moved = exchanged(read(exchanged(tokens.clone())));
        println!("{name}: {}", (read(tokens.clone()) - moved).abs().max().into_scalar::<f32>());
    }
    Ok(())
}
