//! The span loss against loops over every span in f64: several right spans, none, padding, spans too long, weights.

use burn::prelude::*;
use florin_losses::{SpanLoss, SpanScores};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS};

#[test]
fn golden_span_loss_and_gradients() {
    let fixture = Fixture::open("span_loss");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let score = |name: &str| fixture.input::<3>(name, &device).require_grad();
    let none = fixture.input::<2>("none", &device).require_grad();
    let scores = SpanScores { start: score("start"), inside: score("inside"), end: score("end"), none };
    let lengths: Vec<usize> = fixture.config("lengths");
    let loss = SpanLoss { longest: fixture.config("longest") };
    let gold: Tensor<4, Bool> = fixture.input_marks("gold", &device);
    let parts = loss.forward(scores.clone(), &lengths, gold, fixture.input("weight", &device));

    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("loss", parts.loss.clone(), LOSS);
    comparison.tensor("per_field", parts.per_field, LOSS);
    let graph = parts.loss.backward();
    for (name, tensor) in [("start", &scores.start), ("inside", &scores.inside), ("end", &scores.end)] {
        let gradient = tensor.grad(&graph).expect("scores are tracked");
        comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
    }
    comparison.tensor("gradient.none", scores.none.grad(&graph).expect("scores are tracked"), GRADIENT);
    comparison.finish();
}
