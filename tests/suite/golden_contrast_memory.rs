//! Contrast over time and with a memory against loops in f64: CPC, the recurrent unit of its context, and CMC over two batches.

use std::collections::BTreeMap;

use burn::prelude::*;
use florin_losses::{CmcLoss, CpcLoss, CpcNegatives, CpcPredictor, MemoryBank};
use florin_nn::Gru;
use florin_nn::parameters::assign;
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

#[test]
fn golden_cpc_loss_and_gradients() {
    let cases = [
        ("cpc_other_rows", CpcNegatives::OtherRows),
        ("cpc_other_times", CpcNegatives::OtherTimes),
        ("cpc_everything", CpcNegatives::Everything),
    ];
    for (case, negatives) in cases {
        let fixture = Fixture::open(case);
        let device = device();
        let lengths: Vec<usize> = fixture.config("lengths");
        let steps = fixture.config("steps");
        let predictor = filled(CpcPredictor::new(fixture.config("context_dim"), fixture.config("dim"), steps, &device));
        for chunk in [1, 3, 7, 512] {
            let [encoded, context] =
                ["encoded", "context"].map(|name| fixture.input::<3>(name, &device).require_grad());
            let loss = CpcLoss { negatives, chunk };
            let parts = loss.forward(&predictor, encoded.clone(), context.clone(), &lengths);
            let mut comparison = Comparison::new(&fixture);
            comparison.tensor("loss", parts.loss.clone(), LOSS);
            for (index, step) in parts.steps.into_iter().enumerate() {
                for (name, part) in [("loss", step.loss), ("accuracy", step.accuracy), ("bound", step.bound)] {
                    comparison.tensor(&format!("step.{index}.{name}"), part, LOSS);
                }
            }
            let graph = parts.loss.backward();
            for (name, tensor) in [("encoded", &encoded), ("context", &context)] {
                comparison.tensor(&format!("gradient.{name}"), tensor.grad(&graph).expect("tracked"), GRADIENT);
            }
            comparison.gradients(&predictor, &Gradients::of(&predictor, graph));
            comparison.finish();
        }
    }
}

#[test]
fn golden_gru_states_and_gradients() {
    let fixture = Fixture::open("gru");
    let device = device();
    let module = Gru::new(fixture.config("input"), fixture.config("hidden"), &device);
    let module = assign(module, &mut |name, _| Some(fixture.floats(name).1.into()));
    let x = fixture.input::<3>("x", &device).require_grad();
    let state = fixture.input::<2>("state", &device).require_grad();
    let states = module.forward(x.clone(), Some(state.clone()));
    let loss = (states.clone() * fixture.input("probe", &device)).sum();
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("states", states, OUTPUT);
    comparison.tensor("loss", loss.clone(), LOSS);
    let graph = loss.backward();
    comparison.tensor("gradient.x", x.grad(&graph).expect("tracked"), GRADIENT);
    comparison.tensor("gradient.state", state.grad(&graph).expect("tracked"), GRADIENT);
    comparison.gradients(&module, &Gradients::of(&module, graph));
    comparison.finish();
}

#[test]
fn golden_cmc_loss_gradients_and_memory_over_two_batches() {
    let fixture = Fixture::open("cmc_loss");
    let device = device();
    let places: Vec<Vec<usize>> = fixture.config("places");
    for chunk in [1, 2, 512] {
        let loss = CmcLoss { temperature: fixture.config("temperature"), chunk, ..CmcLoss::default() };
        let views = (0..3).map(|view| fixture.input::<2>(&format!("bank.{view}"), &device)).collect();
        let mut bank = MemoryBank { views, momentum: 0.5, log_normalisers: BTreeMap::new() };
        let mut comparison = Comparison::new(&fixture);
        let mut given = Vec::new();
        let mut total: Option<Tensor<1>> = None;
        for (batch, places) in places.iter().enumerate() {
            let name = |view: usize| format!("batch.{batch}.view.{view}");
            let views: Vec<Tensor<2>> =
                (0..3).map(|view| fixture.input::<2>(&name(view), &device).require_grad()).collect();
            let negatives = fixture.input_ints::<2>(&format!("negatives.{batch}"), &device);
            let parts = loss.forward(&views, &mut bank, places, negatives);
            comparison.tensor(&format!("batch.{batch}.loss"), parts.loss.clone(), LOSS);
            for pair in parts.pairs {
                let (from, to) = (pair.from, pair.to);
                comparison.tensor(&format!("batch.{batch}.positive.{from}.{to}"), pair.positive, LOSS);
                comparison.tensor(&format!("batch.{batch}.negative.{from}.{to}"), pair.negative, LOSS);
                let log = bank.log_normalisers[&(from, to)].clone();
                comparison.tensor(&format!("batch.{batch}.log_normaliser.{from}.{to}"), log, LOSS);
            }
            for (view, memory) in bank.views.iter().enumerate() {
                comparison.tensor(&format!("batch.{batch}.bank.{view}"), memory.clone(), OUTPUT);
            }
            given.extend(views.into_iter().enumerate().map(|(view, tensor)| (name(view), tensor)));
            total = Some(total.map_or(parts.loss.clone(), |total| total + parts.loss));
        }
        let total = total.expect("there are two batches");
        comparison.tensor("loss", total.clone(), LOSS);
        let graph = total.backward();
        for (name, tensor) in given {
            comparison.tensor(&format!("gradient.{name}"), tensor.grad(&graph).expect("tracked"), GRADIENT);
        }
        comparison.finish();
    }
}
