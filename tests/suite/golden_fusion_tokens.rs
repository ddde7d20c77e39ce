//! The token-wise fusions against row-by-row references without any mask: three modalities of unequal lengths and widths, padding,
//! rows that lack one or two, the anchor among them.

use burn::prelude::*;
use florin_fusion::{Fusion, FusionConfig, Stream};
use florin_nn::{Mask, Modality, Tokens};
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Audio, Modality::Image];

#[test]
fn golden_fusion_early_tokens() {
    golden("early_tokens");
}

#[test]
fn golden_fusion_early_inputs() {
    golden("early_inputs");
}

#[test]
fn golden_fusion_cross_attention() {
    golden("cross_attention");
}

#[test]
fn golden_fusion_bottleneck() {
    golden("bottleneck");
}

#[test]
fn golden_fusion_mult() {
    golden("mult");
}

#[test]
fn golden_fusion_perceiver() {
    golden("perceiver");
}

/// Embedding, tokens and weights where the kind has them, loss and every gradient.
fn golden(kind: &str) {
    let fixture = Fixture::open(&format!("fusion_{kind}"));
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let config: FusionConfig = fixture.config("fusion");
    config.validate().expect("the case can be built");
    let fusion = filled(config.init(&device));
    let given: Vec<Tensor<3>> =
        (0..3).map(|index| fixture.input(&format!("stream.{index}"), &device).require_grad()).collect();
    let fused = fusion.fuse(&streams(&fixture, &given, &device));
    let tokens = fused.tokens.expect("the anchor is given").padded();

    let probe = |name: &str| format!("probe.{name}");
    let mut loss = (fused.embedding.clone() * fixture.input(&probe("embedding"), &device)).sum()
        + (tokens.clone() * fixture.input(&probe("tokens"), &device)).sum();
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("embedding", fused.embedding, OUTPUT);
    comparison.tensor("tokens", tokens, OUTPUT);
    if let Some(weights) = fused.weights {
        loss = loss + (weights.clone() * fixture.input(&probe("weights"), &device)).sum();
        comparison.tensor("weights", weights, OUTPUT);
    }
    comparison.tensor("loss", loss.clone(), LOSS);
    let graph = loss.backward();
    for (index, stream) in given.iter().enumerate() {
        let gradient = stream.grad(&graph).expect("streams are tracked");
        comparison.tensor(&format!("gradient.stream.{index}"), gradient, GRADIENT);
    }
    comparison.gradients(&fusion, &Gradients::of(&fusion, graph));
    comparison.finish();
}

fn streams(fixture: &Fixture, given: &[Tensor<3>], device: &Device) -> Vec<Stream> {
    let (lengths, present): (Vec<Vec<usize>>, Vec<Vec<u8>>) = (fixture.config("lengths"), fixture.config("present"));
    let stream = |index: usize| {
        let [_, seq, _] = given[index].dims();
        let tokens = Tokens::new(given[index].clone(), Mask::from_lengths(&lengths[index], seq, device));
        Stream { modality: MODALITIES[index], tokens, present: present.iter().map(|row| row[index] != 0).collect() }
    };
    (0..given.len()).map(stream).collect()
}
