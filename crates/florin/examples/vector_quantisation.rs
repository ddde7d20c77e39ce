//! A codebook, used alone: vectors become the nearest of four codes, and both are drawn together.

use florin::backend;
use florin::losses::Codebook;
use florin::tensor::{Bool, Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let book = Codebook::new(4, 2, &device);
    let x = Tensor::<2>::random([6, 2], Distribution::Uniform(-0.3, 0.3), &device).require_grad();
    let found = book.forward(x.clone(), Tensor::<1, Bool>::from_data([true; 6], &device));
    println!("codes {}, of which {} are in even use", found.ids, found.perplexity.into_scalar::<f32>());
    let graph = (found.vectors.square().sum() + found.loss).backward();
    println!("gradient of the vectors, through the codes {}", x.grad(&graph).ok_or("x is tracked")?);
    Ok(())
}
