//! One loss, used alone: two places where a value stands, both right.

use florin::backend;
use florin::losses::{SpanLoss, SpanScores};
use florin::tensor::{Distribution, Tensor, TensorData};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let random = || Tensor::random([1, 1, 4], Distribution::Normal(0.0, 1.0), &device);
    let start = random().require_grad();
    let none = Tensor::zeros([1, 1], &device);
    let scores = SpanScores { start: start.clone(), inside: random(), end: random(), none };
    let mut right = [false; 16];
    right[4 + 2] = true; // words 1 to 2
    right[3 * 4 + 3] = true; // word 3
    let gold = Tensor::from_data(TensorData::new(right.to_vec(), [1, 1, 4, 4]), &device);
    let parts = SpanLoss { longest: 4 }.forward(scores, &[4], gold, Tensor::ones([1, 1], &device));
    println!("loss {}", parts.loss.clone().into_scalar::<f32>());
    println!("gradient {}", start.grad(&parts.loss.backward()).ok_or("start is tracked")?);
    Ok(())
}
