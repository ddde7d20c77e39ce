//! Every kind of fusion that works on vectors against its formula written out row by row: three modalities, rows that lack one, two
//! and all of them. What stands in the rows that lack a modality is given to both sides as it is, and has no gradient.

use burn::module::Module;
use burn::prelude::*;
use florin_fusion::{Fusion, FusionConfig, Stream};
use florin_nn::Modality;
use florin_train::Gradients;
use serde_json::{Value, json};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

const MODALITIES: [&str; 3] = ["text", "image", "series"];

/// The fixture's settings as a configuration file has them.
fn config(fixture: &Fixture) -> FusionConfig {
    let mut settings: Value = fixture.whole_config();
    let widths: Vec<usize> = fixture.config("widths");
    settings["streams"] = json!(MODALITIES.iter().zip(widths).collect::<Vec<_>>());
    let config: FusionConfig = serde_json::from_value(settings).expect("the fixture names a kind");
    config.validate().expect("the fixture's settings can be built");
    config
}

fn streams(fixture: &Fixture, given: &[Tensor<2>]) -> Vec<Stream> {
    let (shape, present) = fixture.ints("present");
    let modalities = [Modality::Text, Modality::Image, Modality::Series];
    let stream = |m: usize| {
        let present = (0..shape[0]).map(|row| present[row * shape[1] + m] != 0).collect();
        Stream::pooled(modalities[m], given[m].clone()).present_in(present)
    };
    (0..given.len()).map(stream).collect()
}

fn golden(case: &str) {
    let fixture = Fixture::open(case);
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    // The kinds themselves: below the enum, names of parameters would begin with its variant.
    match config(&fixture) {
        FusionConfig::AdaptiveHierarchical(config) => compare(&fixture, config.init(&device), &device),
        FusionConfig::Dynamic(config) => compare(&fixture, config.init(&device), &device),
        FusionConfig::Gated(config) => compare(&fixture, config.init(&device), &device),
        FusionConfig::Late(config) => compare(&fixture, config.init(&device), &device),
        FusionConfig::LowRank(config) => compare(&fixture, config.init(&device), &device),
        FusionConfig::Tensor(config) => compare(&fixture, config.init(&device), &device),
        other => panic!("{} has a golden test of its own", other.kind()),
    }
}

fn compare<F: Fusion + Module>(fixture: &Fixture, fusion: F, device: &Device) {
    let fusion = filled(fusion);
    let given: Vec<Tensor<2>> = (0..3).map(|m| fixture.input(&format!("stream.{m}"), device).require_grad()).collect();
    let fused = fusion.fuse(&streams(fixture, &given));
    let mut comparison = Comparison::new(fixture);
    let mut loss = (fused.embedding.clone() * fixture.input::<2>("probe.embedding", device)).sum();
    comparison.tensor("embedding", fused.embedding, OUTPUT);
    if let Some(weights) = fused.weights.filter(|_| fixture.has("probe.weights")) {
        loss = loss + (weights.clone() * fixture.input::<2>("probe.weights", device)).sum();
        comparison.tensor("weights", weights, OUTPUT);
    }
    if let Some(cost) = fused.cost {
        loss = loss + cost.clone() * fixture.input::<1>("probe.cost", device);
        comparison.tensor("cost", cost, OUTPUT);
    }
    comparison.tensor("loss", loss.clone(), LOSS);
    let graph = loss.backward();
    for (m, stream) in given.iter().enumerate() {
        comparison.tensor(&format!("gradient.stream.{m}"), stream.grad(&graph).expect("streams are tracked"), GRADIENT);
    }
    comparison.gradients(&fusion, &Gradients::of(&fusion, graph));
    comparison.finish();
}

#[test]
fn golden_fusion_late_in_all_three_forms() {
    for form in ["concatenated", "weighted_sum", "product_of_experts"] {
        golden(&format!("fusion_late_{form}"));
    }
}

#[test]
fn golden_fusion_gated() {
    golden("fusion_gated");
}

#[test]
fn golden_fusion_tensor() {
    golden("fusion_tensor");
}

#[test]
fn golden_fusion_low_rank_is_tensor_fusion_with_the_reconstructed_tensor() {
    golden("fusion_low_rank");
}

#[test]
fn golden_fusion_adaptive_hierarchical() {
    golden("fusion_adaptive_hierarchical");
}

#[test]
fn golden_fusion_dynamic_in_training() {
    golden("fusion_dynamic");
}
