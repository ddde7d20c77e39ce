//! Heads: shared keys, conditions, caches, and rows that do not know of each other.

use burn::prelude::*;
use proptest::prelude::*;

use super::{ROUNDING, assert_gradient, device, doubled, gap, loud, random, values};
use crate::parameters::{assign, collect};
use crate::{
    Attention, AttentionCache, AttentionConfig, Conditions, ConfigError, Mask, Pairing, Rotary, SlidingWindow,
    alibi_bias,
};

fn attention(key_heads: usize, device: &Device) -> Attention {
    loud(AttentionConfig::new(8, 4).with_key_heads(key_heads).with_head_dim(6).init(device))
}

/// The row of a checkpoint's `[output, input]` weight, or the entry of its bias, that a head's number comes from.
fn rows(values: &[f32], heads: &[usize], head_dim: usize) -> Vec<f32> {
    let per_head = values.len() / heads.iter().max().map_or(1, |most| most + 1);
    assert_eq!(per_head % head_dim, 0);
    heads.iter().flat_map(|head| values[head * per_head..(head + 1) * per_head].to_vec()).collect()
}

#[test]
fn one_head_of_two_numbers_is_what_one_computes_by_hand() {
    let device = device(1);
    let identity = assign(AttentionConfig::new(4, 2).init(&device), &mut |_, shape| {
        let square = shape.len() == 2;
        Some((0..shape.iter().product()).map(|place| f32::from(u8::from(square && place % 5 == 0))).collect())
    });
    let x = Tensor::<3>::from_floats([[[2.0, 0.0, 0.0, 1.0], [0.0, 1.0, 3.0, 0.0]]], &device);
    let found = values(identity.forward(x.clone(), x, None, None));
    // First query, first head: scores 4/√2 and 0/√2; its second head: 1/√2 and 0. Divided by √dim instead they would be halved.
    let first = 1.0 / (1.0 + (-4.0 / 2f64.sqrt()).exp());
    let second = 1.0 / (1.0 + (-1.0 / 2f64.sqrt()).exp());
    for (found, expected) in found.iter().zip([2.0 * first, 1.0 - first, 3.0 * (1.0 - second), second]) {
        assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
    }
}

#[test]
fn a_scale_of_zero_makes_the_mean_of_all_that_is_seen() {
    let device = device(8);
    let attention = attention(2, &device);
    let x = random([1, 4, 8], &device);
    let conditions = Conditions { scale: Some(0.0), ..Default::default() };
    let found = attention.forward_under(x.clone(), x.clone(), conditions);
    let mean = x.clone().mean_dim(1);
    let expected = attention.forward(mean.clone(), mean, None, None).expand([1, 4, 8]);
    assert!(gap(found, expected) < ROUNDING);
}

#[test]
fn scores_that_are_taken_away_again_leave_the_mean_of_all() {
    let device = device(9);
    for key_heads in [1, 2, 4] {
        let attention = attention(key_heads, &device);
        let [x, context] = [random([2, 3, 8], &device), random([2, 5, 8], &device)];
        let scores = attention.scores(x.clone(), context.clone());
        assert_eq!(scores.dims(), [2, 4, 3, 5]);
        let found = attention.forward(x.clone(), context.clone(), None, Some(-scores));
        let even = Conditions { scale: Some(0.0), ..Default::default() };
        assert!(gap(found, attention.forward_under(x, context, even)) < ROUNDING, "{key_heads} key heads");
    }
}

#[test]
fn a_group_of_query_heads_reads_one_key_head() {
    let device = device(2);
    for (key_heads, shared) in [(2, [0, 0, 1, 1]), (1, [0, 0, 0, 0])] {
        let grouped = attention(key_heads, &device);
        let stored = collect(&grouped);
        // The same with a key head of its own for every query head.
        let whole = assign(attention(4, &device), &mut |name, _| {
            let values = &stored[name].values;
            let is_shared = name.starts_with("key") || name.starts_with("value");
            Some(if is_shared { rows(values, &shared, 6).into() } else { values.into() })
        });
        let x = random([2, 5, 8], &device);
        let both = [grouped, whole].map(|module| module.forward(x.clone(), x.clone(), None, None));
        let [found, expected] = both;
        assert!(gap(found, expected) < ROUNDING, "{key_heads} key heads");
    }
}

#[test]
fn a_query_that_may_see_nothing_gives_the_bias_alone() {
    let device = device(3);
    let attention = attention(2, &device);
    let x = random([2, 3, 8], &device).require_grad();
    let mask = Mask::from_lengths(&[3, 0], 3, &device);
    let output = attention.forward(x.clone(), x.clone(), mask.for_attention(), None);
    let bias = attention.output.bias.as_ref().expect("this layer has biases").val();
    assert_eq!(gap(output.clone().narrow(0, 1, 1), bias.reshape([1, 1, 8]).expand([1, 3, 8])), 0.0);
    let gradient = x.grad(&output.sum().backward()).expect("x is tracked");
    assert!(values(gradient.clone()).iter().all(|g| g.is_finite()));
    assert!(values(gradient.narrow(0, 1, 1)).iter().all(|g| *g == 0.0), "nothing seen, nothing learned");
}

#[test]
fn a_causal_query_does_not_see_what_comes_later() {
    let device = device(4);
    let attention = attention(2, &device);
    let rotary = Some(Rotary::new(Pairing::Halves));
    let conditions = || Conditions { causal: true, rotary, ..Default::default() };
    let x = random([1, 6, 8], &device);
    let changed = x.clone().slice_assign([0..1, 4..6, 0..8], random([1, 2, 8], &device));
    let [before, after] = [x, changed].map(|x| attention.forward_under(x.clone(), x, conditions()));
    assert!(gap(before.clone().narrow(1, 0, 4), after.clone().narrow(1, 0, 4)) < ROUNDING);
    assert!(gap(before.narrow(1, 4, 2), after.narrow(1, 4, 2)) > 1e-3);
}

#[test]
fn token_after_token_through_a_cache_gives_what_all_at_once_give() {
    let device = device(5);
    let (seq, window) = (7, SlidingWindow::causal(3));
    for pairing in [Pairing::Halves, Pairing::Interleaved] {
        let attention = attention(2, &device);
        let x = random([2, seq, 8], &device);
        let conditions = |queries: usize, keys: usize| Conditions {
            window: None,
            sequences: None,
            hidden: Some(window.hidden(queries, keys, &device)),
            bias: Some(alibi_bias(4, queries, keys, &device)),
            causal: true,
            rotary: Some(Rotary::new(pairing)),
            scale: Some(0.3),
        };
        let whole = attention.forward_under(x.clone(), x.clone(), conditions(seq, seq));
        let mut cache = AttentionCache::new();
        let mut parts = Vec::new();
        for (first, new) in [(0, 3), (3, 1), (4, 1), (5, 2)] {
            let part = x.clone().narrow(1, first, new);
            parts.push(attention.forward_cached(part, &mut cache, conditions(new, first + new)));
            assert_eq!(cache.len(), first + new);
        }
        assert!(gap(whole, Tensor::cat(parts, 1)) < ROUNDING, "{pairing:?}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device(6);
    let attention = doubled(attention(2, &device));
    let mask = Mask::from_lengths(&[5, 3], 5, &device);
    let rotary = Some(Rotary::new(Pairing::Interleaved));
    let run = |x: Tensor<3>| {
        let hidden = mask.for_attention();
        attention.forward_under(x.clone(), x, Conditions { hidden, rotary, causal: true, ..Default::default() })
    };
    assert_gradient(&run, random([2, 5, 8], &device), 3);
}

#[test]
fn huge_scores_stay_finite() {
    let device = device(7);
    let attention = attention(4, &device);
    let x = (random([1, 4, 8], &device) * 1e4).require_grad();
    let output = attention.forward(x.clone(), x.clone(), None, None);
    assert!(values(output.clone()).iter().all(|value| value.is_finite()));
    let gradient = x.grad(&output.sum().backward()).expect("x is tracked");
    assert!(values(gradient).iter().all(|g| g.is_finite()));
}

#[test]
fn sizes_that_cannot_be_built_are_refused() {
    let config = AttentionConfig::new(8, 4);
    assert_eq!(config.clone().with_key_heads(2).validate(), Ok(()));
    assert_eq!(config.with_key_heads(3).validate(), Err(ConfigError::KeyHeads { key_heads: 3, heads: 4 }));
    assert_eq!(AttentionConfig::new(8, 3).validate(), Err(ConfigError::Heads { heads: 3, dim: 8 }));
    assert_eq!(AttentionConfig::new(8, 0).validate(), Err(ConfigError::Heads { heads: 0, dim: 8 }));
    assert_eq!(AttentionConfig::new(8, 3).with_head_dim(5).validate(), Ok(()));
    assert!(AttentionConfig::new(8, 2).with_head_dim(0).validate().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_row_knows_nothing_of_the_others(seed in 0u64..1000, batch in 1usize..4, seq in 1usize..9, more in 0usize..5, key_heads in prop::sample::select(vec![1usize, 2, 4])) {
        let device = device(seed);
        let attention = attention(key_heads, &device);
        let x = random([batch, seq + more, 8], &device);
        let lengths: Vec<usize> = (0..batch).map(|row| 1 + (seed as usize + row) % seq).collect();
        let mask = Mask::from_lengths(&lengths, seq + more, &device);
        let all = attention.forward(x.clone(), x.clone(), mask.for_attention(), None);
        for (row, &length) in lengths.iter().enumerate() {
            let alone = x.clone().narrow(0, row, 1).narrow(1, 0, length);
            let alone = attention.forward(alone.clone(), alone, None, None);
            let within = all.clone().narrow(0, row, 1).narrow(1, 0, length);
            prop_assert!(gap(alone, within) < ROUNDING);
        }
    }
}
