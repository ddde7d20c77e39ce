//! Attention that decides: exact zeros, decisions that follow the input, and the sparse weights' definition.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use florin_backend::product;
use proptest::prelude::*;

use super::{ROUNDING, assert_gradient, device, doubled, gap, loud, random, values};
use crate::attention::multi_head::{join_heads, split_heads};
use crate::{ConfigError, DynamicAttention, DynamicAttentionConfig, Mask, Weighing, sparsemax};

const BOTH: [Weighing; 2] = [Weighing::Softmax, Weighing::Sparsemax];

fn config(weighing: Weighing) -> DynamicAttentionConfig {
    DynamicAttentionConfig { dim: 8, heads: 2, span: 3.0, ramp: 2.0, causal: false, weighing }
}

fn dynamic(weighing: Weighing, device: &Device) -> DynamicAttention {
    loud(config(weighing).init(device))
}

#[test]
fn hidden_keys_and_those_beyond_the_span_weigh_exactly_zero() {
    let device = device(1);
    for weighing in BOTH {
        let attention = dynamic(weighing, &device);
        let x = random([2, 9, 8], &device);
        let mask = Mask::from_lengths(&[9, 4], 9, &device);
        let weights = values(attention.weights(x.clone(), Some(&mask)));
        let spans = values(attention.decisions(mask.zeroed(x.clone())).span);
        // Queries of the first row; of the second some stand beyond the reach of any key.
        let sums: Vec<f64> = weights[..162].chunks(9).map(|row| row.iter().sum()).collect();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "each query's weights sum to one: {sums:?}");
        let (mut hidden, mut far, mut near) = (0, 0, 0);
        for (place, weight) in weights.iter().enumerate() {
            let (key, query, row) = (place % 9, place / 9 % 9, place / 162);
            if row == 1 && key >= 4 {
                hidden += 1;
                assert_eq!(*weight, 0.0, "hidden");
            } else if key.abs_diff(query) as f64 > spans[place / 9] + 2.0 {
                far += 1;
                assert_eq!(*weight, 0.0, "beyond the span");
            } else {
                near += usize::from(*weight > 0.0);
            }
        }
        assert!(hidden > 50 && far > 50 && near > 50, "all three kinds must occur: {hidden} {far} {near}");
    }
}

#[test]
fn padding_changes_nothing_whatever_stands_there() {
    let device = device(2);
    for weighing in BOTH {
        let attention = dynamic(weighing, &device);
        let x = random([2, 6, 8], &device);
        let spoiled = x.clone().slice_assign([1..2, 4..6, 0..8], Tensor::full([1, 2, 8], f32::NAN, &device));
        let padded = attention.forward(spoiled, Some(&Mask::from_lengths(&[6, 4], 6, &device)));
        let alone = attention.forward(x.narrow(0, 1, 1).narrow(1, 0, 4), None);
        assert!(gap(padded.narrow(0, 1, 1).narrow(1, 0, 4), alone) < ROUNDING);
    }
}

#[test]
fn a_row_without_keys_gives_the_bias_alone() {
    let device = device(3);
    for weighing in BOTH {
        let attention = dynamic(weighing, &device);
        let x = random([2, 3, 8], &device).require_grad();
        let output = attention.forward(x.clone(), Some(&Mask::from_lengths(&[3, 0], 3, &device)));
        let bias = attention.output.bias.as_ref().expect("this layer has biases").val();
        assert_eq!(gap(output.clone().narrow(0, 1, 1), bias.reshape([1, 1, 8]).expand([1, 3, 8])), 0.0);
        let gradient = values(x.grad(&output.sum().backward()).expect("x is tracked"));
        assert!(gradient.iter().all(|g| g.is_finite()) && gradient[24..].iter().all(|g| *g == 0.0));
    }
}

#[test]
fn other_inputs_decide_otherwise() {
    let device = device(4);
    let attention = dynamic(Weighing::Softmax, &device);
    let (one, other) = (random([1, 5, 8], &device), random([1, 5, 8], &device));
    let [first, second] = [&one, &other].map(|x| attention.decisions(x.clone()));
    assert!(gap(first.span, second.span) > 0.1);
    assert!(gap(first.sharpness, second.sharpness) > 0.1);
    assert!(gap(first.gate, second.gate) > 0.01);
    assert!(gap(attention.weights(one, None), attention.weights(other, None)) > 0.01);
}

#[test]
fn without_decisions_it_is_plain_attention() {
    let device = device(5);
    let mut attention = DynamicAttentionConfig { span: 1e4, ..config(Weighing::Softmax) }.init(&device);
    // Spans beyond the sequence, sharpness one, gates of a half.
    for linear in [&mut attention.span, &mut attention.sharpness, &mut attention.gate] {
        linear.weight = Param::from_tensor(Tensor::zeros([8, 2], &device));
    }
    let x = random([2, 5, 8], &device);
    let mut plain = crate::AttentionConfig::new(8, 2).init(&device);
    (plain.query, plain.key, plain.value) = (attention.query.clone(), attention.key.clone(), attention.value.clone());
    plain.output = attention.output.clone();
    let found = attention.forward(x.clone(), None);
    assert!(gap(found * 2.0, plain.forward(x.clone(), x, None, None)) < ROUNDING);
}

#[test]
fn the_weights_that_are_shown_are_those_that_are_used() {
    let device = device(12);
    for (weighing, causal) in [(Weighing::Softmax, false), (Weighing::Softmax, true), (Weighing::Sparsemax, true)] {
        let attention = loud(DynamicAttentionConfig { causal, ..config(weighing) }.init(&device));
        let x = random([2, 9, 8], &device);
        let mask = Mask::from_lengths(&[9, 4], 9, &device);
        let weights = attention.weights(x.clone(), Some(&mask));
        let x = mask.zeroed(x);
        let mixed = product(weights, split_heads(attention.value.forward(x.clone()), 2));
        let gated = attention.output.forward(join_heads(mixed * attention.decisions(x.clone()).gate));
        assert!(gap(attention.forward(x, Some(&mask)), gated) < ROUNDING, "{weighing:?} {causal}");
    }
}

#[test]
fn a_closed_gate_lets_nothing_through() {
    let device = device(11);
    let mut attention = dynamic(Weighing::Softmax, &device);
    let bias = attention.output.bias.as_ref().expect("this layer has biases").val();
    attention.gate.weight = Param::from_tensor(Tensor::zeros([8, 2], &device));
    attention.gate.bias = Some(Param::from_tensor(Tensor::full([2], -100.0, &device)));
    let output = attention.forward(random([1, 5, 8], &device), None);
    assert!(gap(output, bias.reshape([1, 1, 8]).expand([1, 5, 8])) < 1e-12);
}

#[test]
fn causal_queries_do_not_see_what_comes_later() {
    let device = device(6);
    for weighing in BOTH {
        let attention = loud(DynamicAttentionConfig { causal: true, ..config(weighing) }.init(&device));
        let x = random([1, 6, 8], &device);
        let changed = x.clone().slice_assign([0..1, 4..6, 0..8], random([1, 2, 8], &device));
        let [before, after] = [x, changed].map(|x| attention.forward(x, None).narrow(1, 0, 4));
        assert!(gap(before, after) < ROUNDING);
    }
}

#[test]
fn extreme_inputs_stay_finite() {
    let device = device(7);
    for weighing in BOTH {
        let attention = dynamic(weighing, &device);
        for size in [0.0, 1e-20, 1e4] {
            let x = (random([1, 6, 8], &device) * size).require_grad();
            let output = attention.forward(x.clone(), None);
            assert!(values(output.clone()).iter().all(|value| value.is_finite()), "{weighing:?} {size}");
            let gradient = values(x.grad(&output.sum().backward()).expect("x is tracked"));
            assert!(gradient.iter().all(|g| g.is_finite()), "{weighing:?} {size}");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device(8);
    for weighing in BOTH {
        let attention = doubled(dynamic(weighing, &device));
        let mask = Mask::from_lengths(&[6, 4], 6, &device);
        assert_gradient(&|x| attention.forward(x, Some(&mask)), random([2, 6, 8], &device), 5);
    }
}

#[test]
fn settings_that_cannot_be_built_are_refused() {
    assert_eq!(config(Weighing::Softmax).validate(), Ok(()));
    let refused = DynamicAttentionConfig { ramp: 0.0, ..config(Weighing::Softmax) }.validate();
    assert!(matches!(refused, Err(ConfigError::Range { name: "dynamic attention: ramp", .. })));
    assert!(DynamicAttentionConfig { heads: 3, ..config(Weighing::Softmax) }.validate().is_err());
    assert!(DynamicAttentionConfig { span: f64::NAN, ..config(Weighing::Softmax) }.validate().is_err());
}

#[test]
fn sparse_weights_are_what_one_computes_by_hand() {
    let device = device(9);
    let scores = Tensor::<2>::from_floats([[1.0, 0.5, -3.0], [0.0, 5.0, 0.0], [0.2, 0.2, 0.2]], &device).require_grad();
    let weights = sparsemax(scores.clone(), None);
    let third = 1.0 / 3.0;
    let expected = [0.75, 0.25, 0.0, 0.0, 1.0, 0.0, third, third, third];
    assert!(values(weights.clone()).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7));
    let probe = Tensor::<2>::from_floats([[1.0, 3.0, 7.0], [1.0, 2.0, 3.0], [1.0, 2.0, 6.0]], &device);
    let gradient = values(scores.grad(&(weights * probe).sum().backward()).expect("scores are tracked"));
    let expected = [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, -2.0, -1.0, 3.0];
    assert!(gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{gradient:?}");
}

#[test]
fn sparse_weights_of_extreme_scores_are_finite() {
    let device = device(10);
    let hidden = Tensor::<2, Bool>::from_data([[false, true, false], [true, true, true]], &device);
    for far in [1e30f32, -1e30] {
        let scores = Tensor::<2>::from_floats([[far, f32::NAN, far], [far, 0.0, 1.0]], &device).require_grad();
        let weights = sparsemax(scores.clone(), Some(hidden.clone()));
        assert_eq!(values(weights.clone()), [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
        let gradient = values(scores.grad(&weights.square().sum().backward()).expect("scores are tracked"));
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn sparse_weights_are_the_nearest_point_of_the_simplex(seed in 0u64..1000, entries in 1usize..12, size in 0.1f64..5.0) {
        let device = device(seed);
        let scores = random([1, entries], &device).cast(DType::F64) * size;
        let (z, p) = (values(scores.clone()), values(sparsemax(scores, None)));
        prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Without sorting: an entry has weight exactly if what lies above it adds up to less than one.
        for (score, weight) in z.iter().zip(&p) {
            let above: f64 = z.iter().map(|other| (other - score).max(0.0)).sum();
            prop_assert_eq!(above < 1.0, *weight > 0.0, "{:?} {:?}", z, p);
        }
        // All weights above zero are their scores less one threshold.
        let thresholds: Vec<f64> = z.iter().zip(&p).filter(|(_, p)| **p > 0.0).map(|(z, p)| z - p).collect();
        prop_assert!(thresholds.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 1e-12));
    }
}
