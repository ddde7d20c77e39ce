//! Resamplers and bottlenecks: what is absent or hidden changes nothing, what is there does.

use burn::prelude::*;

use super::{ROUNDING, assert_gradient, device, doubled, gap, loud, random, values};
use crate::{BottleneckLayer, BottleneckLayerConfig, ConfigError, Mask, PerceiverResampler, PerceiverResamplerConfig};

fn resampler(keys_with_latents: bool, device: &Device) -> PerceiverResampler {
    let (dim, context_dim) = (12, 9);
    loud(
        PerceiverResamplerConfig { dim, context_dim, latents: 4, depth: 2, heads: 3, head_dim: 5, keys_with_latents }
            .init(device),
    )
}

fn bottleneck(device: &Device) -> BottleneckLayer {
    loud(BottleneckLayerConfig { dim: 8, heads: 2, hidden: 16, modalities: 3, epsilon: 1e-6 }.init(device))
}

#[test]
fn hidden_media_change_nothing_whatever_stands_there() {
    let device = device(1);
    for keys_with_latents in [true, false] {
        let resampler = resampler(keys_with_latents, &device);
        let media = random([2, 6, 9], &device);
        let mask = Mask::from_lengths(&[6, 4], 6, &device);
        let padded = resampler.forward(media.clone(), Some(&mask));
        let alone = resampler.forward(media.clone().narrow(0, 1, 1).narrow(1, 0, 4), None);
        assert_eq!(padded.dims(), [2, 4, 12]);
        assert!(gap(padded.clone().narrow(0, 1, 1), alone) < ROUNDING);
        let spoiled = media.clone().slice_assign([1..2, 4..6, 0..9], Tensor::full([1, 2, 9], f32::NAN, &device));
        assert!(gap(padded.clone(), resampler.forward(spoiled, Some(&mask))) < ROUNDING);
        let other = media.clone().slice_assign([1..2, 3..4, 0..9], random([1, 1, 9], &device));
        assert!(gap(padded, resampler.forward(other, Some(&mask))) > 1e-3, "kept media must matter");
    }
}

#[test]
fn the_order_of_media_does_not_matter_to_latents() {
    let device = device(2);
    let resampler = resampler(true, &device);
    let media = random([1, 5, 9], &device);
    let order = Tensor::<1, Int>::from_ints([3, 0, 4, 1, 2], &device);
    assert!(gap(resampler.forward(media.clone(), None), resampler.forward(media.select(1, order), None)) < ROUNDING);
}

#[test]
fn latents_see_each_other_only_as_keys() {
    let device = device(3);
    for keys_with_latents in [true, false] {
        let resampler = resampler(keys_with_latents, &device);
        let media = random([1, 5, 9], &device);
        let before = resampler.forward(media.clone(), None);
        let mut changed = resampler;
        changed.latents = changed
            .latents
            .map(|latents| latents.clone().slice_assign([3..4, 0..12], latents.narrow(0, 3, 1) * 0.3).detach());
        let after = changed.forward(media, None);
        let moved = gap(before.narrow(1, 0, 3), after.narrow(1, 0, 3));
        assert_eq!(moved > 1e-4, keys_with_latents, "another latent moved the first three by {moved}");
    }
}

#[test]
fn media_and_latents_have_norms_of_their_own_and_the_result_a_last_one() {
    let device = device(9);
    let mut resampler = resampler(true, &device);
    let media = random([1, 5, 9], &device);
    let output = resampler.forward(media.clone(), None);
    let squares = values(output.clone().square().mean_dim(2));
    assert!(squares.iter().all(|mean| (mean - 1.0).abs() < 1e-3), "a new norm leaves mean squares of one: {squares:?}");
    for layer in &mut resampler.layers {
        layer.media_norm.weight = layer.media_norm.weight.clone().map(|weight| weight * 0.0);
    }
    let deaf = resampler.forward(media.clone(), None);
    assert!(gap(output, deaf.clone()) > 1e-2, "media went through their norm");
    assert!(gap(deaf, resampler.forward(media * 2.0 + 1.0, None)) < ROUNDING, "media went through nothing else");
}

#[test]
fn hidden_media_get_no_gradient() {
    let device = device(4);
    let resampler = resampler(true, &device);
    let media = random([1, 6, 9], &device).require_grad();
    let output = resampler.forward(media.clone(), Some(&Mask::from_lengths(&[4], 6, &device)));
    let graph = (output.clone() * random(output.dims(), &device)).sum().backward();
    let gradient = media.grad(&graph).expect("media are tracked");
    assert!(values(gradient.clone().narrow(1, 0, 4)).iter().all(|g| g.is_finite() && *g != 0.0));
    assert!(values(gradient.narrow(1, 4, 2)).iter().all(|g| *g == 0.0));
}

#[test]
fn an_absent_modality_equals_one_that_is_left_out() {
    let device = device(5);
    let layer = bottleneck(&device);
    let streams = [3, 5, 2].map(|seq| random([2, seq, 8], &device));
    let shared = random([2, 4, 8], &device);
    // The second modality is missing from the second row, and says NaN there.
    let mut spoiled = streams.clone();
    spoiled[1] = streams[1].clone().slice_assign([1..2, 0..5, 0..8], Tensor::full([1, 5, 8], f32::NAN, &device));
    let masks =
        [([3, 2], 3), ([4, 0], 5), ([2, 2], 2)].map(|(lengths, seq)| Mask::from_lengths(&lengths, seq, &device));
    let (found, mixed) = layer.forward(spoiled.to_vec(), &masks, shared.clone());

    let without = BottleneckLayer { blocks: vec![layer.blocks[0].clone(), layer.blocks[2].clone()] };
    let rows = |x: &Tensor<3>| x.clone().narrow(0, 1, 1);
    let kept = vec![rows(&streams[0]).narrow(1, 0, 2), rows(&streams[2])];
    let masks = [2, 2].map(|seq| Mask::all_kept(1, seq, &device));
    let (alone, alone_mixed) = without.forward(kept, &masks, rows(&shared));
    assert!(gap(rows(&mixed), alone_mixed) < ROUNDING, "an absent modality must not count in the mean");
    assert!(gap(rows(&found[0]).narrow(1, 0, 2), alone[0].clone()) < ROUNDING);
    assert!(gap(rows(&found[2]), alone[1].clone()) < ROUNDING);
    assert!(gap(mixed, shared) > 1e-2, "the bottlenecks must learn something");
}

#[test]
fn without_any_modality_the_bottlenecks_stay() {
    let device = device(6);
    let layer = bottleneck(&device);
    let streams = vec![random([2, 3, 8], &device); 3];
    let masks = [[3, 0], [0, 0], [2, 0]].map(|lengths| Mask::from_lengths(&lengths, 3, &device));
    let shared = random([2, 4, 8], &device);
    let (_, mixed) = layer.forward(streams, &masks, shared.clone());
    assert_eq!(gap(mixed.clone().narrow(0, 1, 1), shared.clone().narrow(0, 1, 1)), 0.0);
    assert!(gap(mixed.narrow(0, 0, 1), shared.narrow(0, 0, 1)) > 1e-2);
}

#[test]
fn modalities_meet_only_through_the_bottlenecks() {
    let device = device(7);
    let layer = bottleneck(&device);
    let mut streams: Vec<Tensor<3>> = [3, 5, 2].map(|seq| random([1, seq, 8], &device)).to_vec();
    let masks = [3, 5, 2].map(|seq| Mask::all_kept(1, seq, &device));
    let shared = random([1, 2, 8], &device);
    let (before, mixed) = layer.forward(streams.clone(), &masks, shared.clone());
    streams[0] = random([1, 3, 8], &device);
    let (after, remixed) = layer.forward(streams, &masks, shared);
    assert_eq!(gap(before[1].clone(), after[1].clone()), 0.0, "within one layer another modality is out of sight");
    assert!(gap(mixed, remixed) > 1e-3, "the next layer sees it through the bottlenecks");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device(8);
    let resampler = doubled(resampler(true, &device));
    let mask = Mask::from_lengths(&[5, 2], 5, &device);
    assert_gradient(&|media| resampler.forward(media, Some(&mask)), random([2, 5, 9], &device), 4);
    let layer = doubled(bottleneck(&device));
    let other = random([2, 3, 8], &device).cast(burn::tensor::DType::F64);
    let masks = [[3, 2], [3, 0], [2, 3]].map(|lengths| Mask::from_lengths(&lengths, 3, &device));
    let mixed = |x: Tensor<3>| layer.forward(vec![x, other.clone(), other.clone()], &masks, other.clone()).1;
    assert_gradient(&mixed, random([2, 3, 8], &device), 3);
}

#[test]
fn sizes_that_cannot_be_built_are_refused() {
    let mut config = PerceiverResamplerConfig::flamingo(32);
    assert_eq!((config.depth, config.latents, config.heads, config.head_dim), (6, 64, 8, 64));
    assert_eq!(config.validate(), Ok(()));
    config.latents = 0;
    assert_eq!(config.validate(), Err(ConfigError::Zero("perceiver: latents")));
    let config = BottleneckLayerConfig { dim: 8, heads: 3, hidden: 16, modalities: 2, epsilon: 1e-6 };
    assert_eq!(config.validate(), Err(ConfigError::Heads { heads: 3, dim: 8 }));
}
