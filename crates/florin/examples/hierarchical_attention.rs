//! Attention in three levels over days of segments of tokens, of which some are missing.

use florin::backend;
use florin::nn::HierarchicalAttentionConfig;
use florin::tensor::{Bool, Distribution, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let config = HierarchicalAttentionConfig { dim: 16, attention_dim: 8, heads: Some(2) };
    config.validate()?;
    let levels = config.init(&device);
    // One company, three days of two segments of four tokens; nothing came on the second day.
    let tokens: Tensor<5> = Tensor::random([1, 3, 2, 4, 16], Distribution::Normal(0.0, 1.0), &device);
    let missing = Tensor::<1, Int>::from_ints([0, 0, 1, 1, 0, 1], &device).equal_scalar(1);
    let hidden: Tensor<4, Bool> = missing.reshape([1, 3, 2, 1]).expand([1, 3, 2, 4]);
    let days = levels.steps(levels.segments(tokens, hidden));
    println!("which days counted {}", levels.over_time.weights(days.vectors.clone(), days.absent.clone()));
    println!("one vector {}", levels.whole(days).vectors);
    Ok(())
}
