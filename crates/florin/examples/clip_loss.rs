//! A contrastive loss, used alone: three pairs of embeddings, as near as chance has put them.

use florin::backend;
use florin::losses::{ClipLoss, LogitScale};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let random = || Tensor::random([3, 8], Distribution::Normal(0.0, 1.0), &device);
    let (image, text): (Tensor<2>, Tensor<2>) = (random().require_grad(), random());
    let scale = LogitScale::new(LogitScale::CLIP_TEMPERATURE, &device);
    let parts = ClipLoss::default().forward(image.clone(), text, scale.value());
    println!("loss {}", parts.loss.clone().into_scalar::<f32>());
    println!("gradient {}", image.grad(&parts.loss.backward()).ok_or("image is tracked")?);
    Ok(())
}
