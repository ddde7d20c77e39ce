//! Three modalities of which rows may lack some, contrasted across and within.

use florin::backend;
use florin::losses::{LogitScale, ModalityContrastLoss, ModalityVectors};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let vectors = || ModalityVectors::of_all(Tensor::random([4, 8], Distribution::Normal(0.0, 1.0), &device));
    let [picture, text, prices] = [vectors(), vectors(), vectors().present_in(vec![true, false, true, true])];
    let scale = LogitScale::new(LogitScale::CLIP_TEMPERATURE, &device);
    // Rows 0 and 3 are about the same company and day: they do not compete.
    let loss = ModalityContrastLoss { within: 0.5, chunk: 512 };
    let parts = loss.forward(&[picture, text, prices], scale.value(), Some(&[7, 8, 9, 7]));
    println!("loss {:.4}", parts.loss.into_scalar::<f32>());
    for pair in parts.pairs {
        println!("{} to {}: {:.4}, {} rows", pair.from, pair.to, pair.loss.into_scalar::<f32>(), pair.anchors);
    }
    Ok(())
}
