//! Blocks of several modalities against loops in Python: absent ones, padding, other widths.

use burn::prelude::*;
use florin_nn::{
    Activation, BottleneckLayerConfig, CoAttentionBlockConfig, CrossModalBlockConfig, Mask, PerceiverResamplerConfig,
};

use crate::golden_attention::{Case, kept};
use crate::golden_weights::filled;

#[test]
fn golden_cross_modal_block() {
    let case = Case::open("cross_modal", &["x", "source"]);
    let size = |name: &str| case.fixture.config::<usize>(name);
    let config = CrossModalBlockConfig {
        dim: size("dim"),
        source_dim: size("source_dim"),
        heads: size("heads"),
        hidden: size("hidden"),
    };
    let module = filled(config.init(&case.device));
    let mask = case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "source");
    let output = module.forward(case.input("x"), case.input("source"), Some(&mask));
    case.compare(Some(&module), vec![("output", output)]);
}

#[test]
fn golden_co_attention_block() {
    let case = Case::open("co_attention", &["first", "second"]);
    let sizes = |name: &str| case.fixture.config::<[usize; 2]>(name);
    let config = CoAttentionBlockConfig { dims: sizes("dims"), heads: sizes("heads"), hidden: sizes("hidden") };
    let module = filled(config.init(&case.device));
    let lengths: Vec<Vec<usize>> = case.fixture.config("lengths");
    let (first, second) = (case.mask(&lengths[0], "first"), case.mask(&lengths[1], "second"));
    let both = module.forward(case.input("first"), case.input("second"), Some(&first), Some(&second));
    let outputs = vec![("first_output", kept(both.first, &first)), ("second_output", kept(both.second, &second))];
    case.compare(Some(&module), outputs);
}

/// The sizes of a resampler's case.
fn resampler(case: &Case, context_dim: usize, keys_with_latents: bool) -> PerceiverResamplerConfig {
    let size = |name: &str| case.fixture.config::<usize>(name);
    PerceiverResamplerConfig {
        dim: size("dim"),
        context_dim,
        latents: size("latents"),
        depth: size("depth"),
        heads: size("heads"),
        head_dim: size("head_dim"),
        keys_with_latents,
    }
}

#[test]
fn golden_perceiver_resampler_is_that_of_idefics() {
    let case = Case::open("perceiver", &["media"]);
    let config = resampler(&case, case.fixture.config("dim"), true);
    let module = filled(config.init_with(Activation::Relu, &case.device));
    let output = module.forward(case.input("media"), None);
    case.compare(Some(&module), vec![("output", output)]);
}

#[test]
fn golden_perceiver_whose_latents_only_ask() {
    let case = Case::open("perceiver_latents_ask", &["media"]);
    let module = filled(resampler(&case, case.fixture.config("context_dim"), false).init(&case.device));
    let mask = case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "media");
    let output = module.forward(case.input("media"), Some(&mask));
    case.compare(Some(&module), vec![("output", output)]);
}

#[test]
fn golden_bottleneck_of_three_modalities() {
    const STREAMS: [&str; 3] = ["stream_0", "stream_1", "stream_2"];
    let case = Case::open("bottleneck", &[STREAMS[0], STREAMS[1], STREAMS[2], "bottleneck"]);
    let size = |name: &str| case.fixture.config::<usize>(name);
    let config = BottleneckLayerConfig {
        dim: size("dim"),
        heads: size("heads"),
        hidden: size("hidden"),
        modalities: 3,
        epsilon: 1e-6,
    };
    let module = filled(config.init(&case.device));
    let lengths: Vec<Vec<usize>> = case.fixture.config("lengths");
    let masks: Vec<Mask> = STREAMS.iter().zip(&lengths).map(|(name, lengths)| case.mask(lengths, name)).collect();
    let streams: Vec<Tensor<3>> = STREAMS.iter().map(|name| case.input(name)).collect();
    let (streams, mixed) = module.forward(streams, &masks, case.input("bottleneck"));
    let names = ["output_0", "output_1", "output_2"];
    let mut outputs: Vec<(&str, Tensor<3>)> =
        names.into_iter().zip(streams.into_iter().zip(&masks).map(|(stream, mask)| kept(stream, mask))).collect();
    outputs.push(("mixed", mixed));
    case.compare(Some(&module), outputs);
}
