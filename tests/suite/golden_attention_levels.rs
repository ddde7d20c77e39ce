//! Attention that pools and attention that decides, against loops in Python.

use burn::prelude::*;
use florin_nn::{Attention, DynamicAttentionConfig, HierarchicalAttentionConfig, Weighing, sparsemax};

use crate::golden_attention::{Case, kept};
use crate::golden_weights::filled;

#[test]
fn golden_levels_of_tokens_segments_and_steps() {
    let case = Case::open("hierarchical", &["tokens"]);
    let (dim, attention_dim) = (case.fixture.config("dim"), case.fixture.config("attention_dim"));
    let module = filled(HierarchicalAttentionConfig { dim, attention_dim, heads: None }.init(&case.device));
    let counts: Vec<Vec<Vec<usize>>> = case.fixture.config("counts");
    let shape @ [batch, steps, segments, seq] = [counts.len(), counts[0].len(), counts[0][0].len(), 4];
    let counts = counts.into_iter().flatten().flatten();
    let hidden: Vec<bool> = counts.flat_map(|count| (0..seq).map(move |place| place >= count)).collect();
    let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, shape), &case.device);
    let tokens = case.input("tokens").reshape([batch, steps, segments, seq, dim]);
    let of_segments = module.segments(tokens, hidden);
    let of_steps = module.steps(of_segments.clone());
    let whole = module.whole(of_steps.clone()).vectors;
    let outputs = vec![
        ("segments", of_segments.vectors.reshape([batch * steps, segments, dim])),
        ("steps", of_steps.vectors),
        ("whole", whole.reshape([batch, 1, dim])),
    ];
    case.compare(Some(&module), outputs);
}

#[test]
fn golden_sparsemax() {
    let case = Case::open("sparsemax", &["scores"]);
    let weights = sparsemax(case.input("scores"), None);
    case.compare(None::<&Attention>, vec![("weights", weights)]);
}

#[test]
fn golden_dynamic_attention_soft_and_sparse() {
    for (name, weighing, causal) in
        [("dynamic_soft", Weighing::Softmax, true), ("dynamic_sparse", Weighing::Sparsemax, false)]
    {
        let case = Case::open(name, &["x"]);
        let config = DynamicAttentionConfig {
            dim: case.fixture.config("dim"),
            heads: case.fixture.config("heads"),
            span: case.fixture.config("span"),
            ramp: case.fixture.config("ramp"),
            causal,
            weighing,
        };
        let module = filled(config.init(&case.device));
        let mask = case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "x");
        let output = module.forward(case.input("x"), Some(&mask));
        let weights = module.weights(case.input("x"), Some(&mask));
        let [batch, heads, queries, keys] = weights.dims();
        // What padded queries give means nothing.
        let weights = weights * mask.kept().reshape([batch, 1, queries, 1]);
        let weights = weights.reshape([batch, heads * queries, keys]);
        let outputs = vec![("output", kept(output, &mask)), ("weights", weights)];
        case.compare(Some(&module), outputs);
    }
}
