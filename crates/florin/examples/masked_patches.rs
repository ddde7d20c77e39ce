//! What was hidden of a picture, and what is said next of it: masked patches and captioning.

use florin::backend;
use florin::losses::{CaptioningLoss, MaskedImageLoss, patchify};
use florin::tensor::{Bool, Distribution, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let normal = Distribution::Normal(0.0, 1.0);
    let pictures: Tensor<4> = Tensor::random([1, 3, 8, 8], normal, &device);
    let patches = patchify(pictures, 4); // [1, 4, 48]
    let masked = Tensor::<2, Bool>::from_data([[true, false, true, true]], &device);
    let parts = MaskedImageLoss::default().forward(patches.zeros_like(), patches, masked);
    println!("patches: {}, {}", parts.loss.into_scalar::<f32>(), parts.per_picture);

    // Five tokens, of which the first two are the prompt: only the other three should have been said.
    let ids = Tensor::<2, Int>::from_ints([[1, 4, 2, 3, 0]], &device);
    let counts = Tensor::<2, Bool>::from_data([[false, false, true, true, true]], &device);
    let parts = CaptioningLoss::default().forward(Tensor::random([1, 5, 6], normal, &device), ids, counts);
    println!("caption: {} over {} tokens", parts.loss.into_scalar::<f32>(), parts.tokens.into_scalar::<f32>());
    Ok(())
}
