//! A batch encoded in chunks, with the loss and gradients of the whole: contrastive training beyond the memory of one pass.

use florin::backend;
use florin::losses::{CachedContrast, ClipLoss, EncodeRows};
use florin::nn::Linear;
use florin::tensor::{Distribution, Tensor};
use florin::train::Gradients;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let inputs = || Tensor::<2>::random([32, 10], Distribution::Normal(0.0, 1.0), &device);
    let (pictures, texts, encoder) = (inputs(), inputs(), Linear::new(10, 8, &device));
    let scale = Tensor::<1>::from_floats([2.0], &device);
    let encode =
        |x: &Tensor<2>, rows: std::ops::Range<usize>| encoder.forward(x.clone().narrow(0, rows.start, rows.len()));
    let (picture, text) = (|rows| encode(&pictures, rows), |rows| encode(&texts, rows));
    let towers: [EncodeRows<'_>; 2] = [&picture, &text];
    let cached = CachedContrast::forward(&towers, 32, 8, |v| {
        ClipLoss::default().forward(v[0].clone(), v[1].clone(), scale).loss
    });
    let parts = cached.surrogates(&towers).map(|part| Gradients::of(&encoder, part.backward()));
    let gradients = parts.reduce(Gradients::plus).ok_or("there are chunks")?;
    println!("loss {:.4}, gradient's norm {:.4}", cached.loss.into_scalar::<f32>(), gradients.norm());
    Ok(())
}
