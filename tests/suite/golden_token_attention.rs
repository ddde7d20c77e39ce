//! The fusion against its formula written out in Python: three modalities, rows that lack one, padding.

use burn::prelude::*;
use florin_fusion::{Fusion, Stream, TokenAttentionConfig};
use florin_nn::{Mask, Modality, Tokens};
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Layout, Modality::Image];

#[test]
fn golden_token_attention_tokens_weights_loss_and_gradients() {
    let fixture = Fixture::open("token_attention");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let widths: Vec<usize> = fixture.config("widths");
    let widths = MODALITIES.into_iter().zip(widths).collect();
    let config = TokenAttentionConfig { streams: widths, dim: fixture.config("dim"), heads: fixture.config("heads") };
    let fusion = filled(config.init(&device));

    let given: Vec<Tensor<3>> =
        (0..3).map(|index| fixture.input(&format!("stream.{index}"), &device).require_grad()).collect();
    let streams = streams(&fixture, &given, &device);
    let mask = streams[0].tokens.mask().clone();
    let fused = fusion.fuse(&streams);
    let tokens = fused.tokens.expect("this kind gives tokens").padded();
    let weights = fused.weights.expect("this kind gives weights");

    let probe_weights = fixture.input::<2>("probe_weights", &device);
    let loss = (tokens.clone() * fixture.input::<3>("probe", &device)).sum() + (weights.clone() * probe_weights).sum();
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("tokens", tokens * mask.kept().unsqueeze_dim::<3>(2), OUTPUT);
    comparison.tensor("weights", weights, OUTPUT);
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
    let lengths: Vec<usize> = fixture.config("lengths");
    let [_, seq, _] = given[0].dims();
    let (shape, present) = fixture.ints("present");
    let stream = |index: usize| Stream {
        modality: MODALITIES[index],
        tokens: Tokens::new(given[index].clone(), Mask::from_lengths(&lengths, seq, device)),
        present: (0..shape[0]).map(|row| present[row * shape[1] + index] != 0).collect(),
    };
    (0..given.len()).map(stream).collect()
}
