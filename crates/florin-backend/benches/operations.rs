//! Operations below every model: cross-entropy over a thousand classes and over a vocabulary, softmax, GELU.

#[path = "../../florin-nn/benches/frame/mod.rs"]
mod frame;

use burn::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use florin_backend::{Activation, activation, cross_entropy, softmax};
use frame::{Cases, random};

/// Rows and columns.
const SIZES: [(&str, [usize; 2]); 2] = [("thousand", [4096, 1024]), ("vocabulary", [512, 30_522])];

fn operations(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "operations");
    for (name, [rows, classes]) in SIZES {
        cases.loss(&format!("cross_entropy_{name}"), |device| {
            let (logits, targets) = (random([rows, classes], device), Tensor::<1, Int>::arange(0..rows as i64, device));
            let targets = targets.remainder_scalar(classes as i64);
            move || cross_entropy(logits.clone(), targets.clone(), None)
        });
        cases.block(&format!("softmax_{name}"), |device| {
            let x = random([rows, classes], device);
            move || softmax(x.clone(), 1)
        });
        cases.block(&format!("gelu_{name}"), |device| {
            let x = random([rows, classes], device);
            move || activation(x.clone(), Activation::Gelu)
        });
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
