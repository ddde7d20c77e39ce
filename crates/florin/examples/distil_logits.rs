//! Distillation of logits, used alone: a student that knows nothing beside a teacher that is nearly sure.

use florin::backend;
use florin::losses::distillation::LogitDistillation;
use florin::tensor::{Bool, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    let student = Tensor::<2>::zeros([2, 3], &device).require_grad();
    let teacher = Tensor::<2>::from_floats([[4.0, 1.0, 0.0], [0.0, 2.0, 3.0]], &device);
    let labels = Tensor::<1, Int>::from_ints([0, 1], &device);
    let all = Tensor::<1, Bool>::from_data([true, true], &device);
    let loss = LogitDistillation { temperature: 4.0, alpha: 0.9 };
    loss.validate()?;
    let parts = loss.forward(student.clone(), teacher, labels, all.clone(), all);
    let number = |part: &Tensor<1>| part.clone().into_scalar::<f32>();
    println!("of the teacher {}, of labels {}", number(&parts.soft), number(&parts.hard));
    println!("gradient {}", student.grad(&parts.loss.backward()).ok_or("the student is tracked")?);
    Ok(())
}
