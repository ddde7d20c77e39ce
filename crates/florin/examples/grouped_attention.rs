//! Grouped-query attention with rotary positions: all tokens at once, and one after another through a cache.

use florin::backend;
use florin::nn::{AttentionCache, AttentionConfig, Conditions, Pairing, Rotary};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let config = AttentionConfig::new(32, 8).with_key_heads(2);
    config.validate()?;
    let attention = config.init(&device);
    let conditions = Conditions { causal: true, rotary: Some(Rotary::new(Pairing::Interleaved)), ..Default::default() };
    let tokens: Tensor<3> = Tensor::random([1, 6, 32], Distribution::Normal(0.0, 1.0), &device);
    let whole = attention.forward_under(tokens.clone(), tokens.clone(), conditions.clone());
    let mut cache = AttentionCache::new();
    let one = |place| attention.forward_cached(tokens.clone().narrow(1, place, 1), &mut cache, conditions.clone());
    let one_by_one = Tensor::cat((0..6).map(one).collect(), 1);
    println!("largest difference {}", (whole - one_by_one).abs().max().into_scalar::<f32>());
    Ok(())
}
