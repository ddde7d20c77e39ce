//! Gradients of two tasks that pull against each other, made to agree.

use florin::backend;
use florin::tensor::Tensor;
use florin::train::{Gradients, PcGrad};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    let of = |gradient: [f32; 2]| Gradients::from_named([("trunk".to_owned(), Tensor::from_floats(gradient, &device))]);
    let tasks = [of([1.0, 0.0]), of([-1.0, 1.0])];
    let parts = PcGrad { seed: 7 }.combine(&tasks, 0);
    println!("{} of 1 pair of tasks in conflict", parts.conflicts);
    println!("together {}", parts.gradients.get("trunk").ok_or("both tasks touch it")?);
    Ok(())
}
