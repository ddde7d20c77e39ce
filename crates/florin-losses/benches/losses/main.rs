//! Every loss, by what it learns from: pairs of vectors, hidden or following parts, a teacher.

#[path = "../../../florin-nn/benches/frame/mod.rs"]
mod frame;

mod contrast;
mod distillation;
mod prediction;

use criterion::{Criterion, criterion_group, criterion_main};
use frame::Cases;

fn losses(criterion: &mut Criterion) {
    let mut cases = Cases::new(criterion, "losses");
    contrast::add(&mut cases);
    prediction::add(&mut cases);
    distillation::add(&mut cases);
}

criterion_group!(benches, losses);
criterion_main!(benches);
