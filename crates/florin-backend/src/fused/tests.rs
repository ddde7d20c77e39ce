//! Fused operations in f32 against the composed ones in f64, values and gradients.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::{DType, Distribution};

use crate::{
    Activation, AdamWStep, AttentionOptions, activation, adamw, add_norm, attention, attention_of_sequences,
    cross_entropy, embedding, in_mixed_precision, layer_norm, linear, linear_activation, log_likelihood, log_softmax,
    product, softmax, sum_of_squares,
};

const KINDS: [Activation; 7] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Silu,
    Activation::Relu,
    Activation::Tanh,
];

/// An f32 leaf and the same in f64, which the fused operations do not serve.
struct Pair<const D: usize> {
    fused: Tensor<D>,
    composed: Tensor<D>,
}

fn device() -> Device {
    let device = crate::device("cpu").expect("the cpu device is always there").autodiff();
    crate::seed(&device, 11);
    device
}

fn pair<const D: usize>(shape: [usize; D], device: &Device) -> Pair<D> {
    let values = Tensor::<D>::random(shape, Distribution::Normal(0.0, 1.0), device).detach();
    let composed = values.clone().cast(DType::F64).detach().require_grad();
    Pair { fused: values.require_grad(), composed }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec::<f64>().expect("converted to f64")
}

fn assert_near(what: &str, found: &[f64], exact: &[f64]) {
    assert_eq!(found.len(), exact.len(), "{what}");
    // Inputs are about one: what cancels to nearly nothing is compared with a tenth of that.
    let largest = exact.iter().fold(0.1, |most: f64, x| most.max(x.abs()));
    let worst = found.iter().zip(exact).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
    // A hundred products of numbers about one, rounded to f32, leave some 5e-6; a wrong term would leave 1e-2.
    assert!(worst < 1e-5, "{what}: {worst:e} of the largest magnitude {largest}");
}

/// Compares outputs, and gradients of a weighted sum of them (a plain sum's gradient would be zero through a softmax).
macro_rules! compare {
    ($what:expr, $run:expr, $device:expr, $($input:ident),+) => {{
        let fused = $run($($input.fused.clone()),+);
        let composed = $run($($input.composed.clone()),+);
        assert_near(&format!("{}: output", $what), &values(fused.clone()), &values(composed.clone()));
        let weights = Tensor::random(fused.shape(), Distribution::Normal(0.0, 1.0), $device);
        let gradients = (fused * weights.clone()).sum().backward();
        let exact = (composed * weights.cast(DType::F64)).sum().backward();
        $(
            let what = format!("{}: gradient of {}", $what, stringify!($input));
            let found = $input.fused.grad(&gradients).unwrap_or_else(|| panic!("{what} is missing"));
            let expected = $input.composed.grad(&exact).unwrap_or_else(|| panic!("{what} is missing in f64"));
            assert_near(&what, &values(found), &values(expected));
        )+
    }};
}

mod comparisons;
mod pairs;
mod positions;
mod scores;

#[test]
fn attention_is_the_composed_one() {
    let device = device();
    // heads, key heads, queries, keys, causal, hidden
    let cases = [
        (4, 4, 7, 7, false, false),
        (4, 2, 5, 9, true, true),
        (6, 1, 3, 33, false, true),
        (1, 1, 1, 1, true, false),
        (2, 2, 40, 4100, false, true), // several blocks of keys
        (2, 1, 300, 700, true, true),  // and of queries
        (1, 1, 600, 550, true, false), // the first of which see nothing
    ];
    for (heads, key_heads, queries, keys, causal, masked) in cases {
        let query = pair([2, heads, queries, 8], &device);
        let key = pair([2, key_heads, keys, 8], &device);
        let value = pair([2, key_heads, keys, 8], &device);
        let bias = pair([1, heads, queries, keys], &device);
        // The first row of the batch hides every third key; the second row hides all.
        let marks: Vec<bool> = (0..2 * keys).map(|place| place >= keys || place % 3 == 2).collect();
        let hidden = masked.then(|| {
            Tensor::<4, Bool>::from_data(TensorData::new(marks, [2, 1, 1, keys]), &device.clone().without_autodiff())
        });
        let options = AttentionOptions { scale: Some(0.3), causal, window: None };
        let run = |q: Tensor<4>, k, v, b| attention(q, k, v, hidden.clone(), Some(b), options);
        compare!(format!("{heads} {key_heads} {queries} {keys}"), run, &device, query, key, value, bias);
        let run = |q: Tensor<4>, k, v| attention(q, k, v, hidden.clone(), None, options);
        compare!(format!("{heads} {key_heads} {queries} {keys} without bias"), run, &device, query, key, value);
    }
}

#[test]
fn sequences_end_to_end_see_themselves_alone() {
    let device = device();
    for (lengths, heads, key_heads) in [(vec![1], 1, 1), (vec![3, 0, 7, 1], 4, 2), (vec![0, 90, 5], 2, 2)] {
        let total = lengths.iter().sum();
        let lengths: Arc<[usize]> = lengths.into();
        let query = pair([1, heads, total, 8], &device);
        let (key, value) = (pair([1, key_heads, total, 8], &device), pair([1, key_heads, total, 5], &device));
        for causal in [false, true] {
            let options = AttentionOptions { scale: Some(0.3), causal, window: None };
            let run = |q: Tensor<4>, k, v| attention_of_sequences(q, k, v, &lengths, options);
            compare!(format!("{lengths:?} {causal}"), run, &device, query, key, value);
            // The same by hiding what is another's.
            let of = |place: usize| {
                let mut ends = lengths.iter().scan(0, |end, length| {
                    *end += length;
                    Some(*end)
                });
                ends.position(|end| place < end)
            };
            let hidden: Vec<bool> = (0..total * total).map(|at| of(at / total) != of(at % total)).collect();
            let hidden = Tensor::from_data(TensorData::new(hidden, [1, 1, total, total]), &device);
            let (q, k, v) = (query.fused.clone(), key.fused.clone(), value.fused.clone());
            let exact = values(attention(q.clone(), k.clone(), v.clone(), Some(hidden), None, options));
            assert_near(&format!("{lengths:?} {causal} hidden"), &values(run(q, k, v)), &exact);
        }
    }
}

#[test]
fn windows_are_the_composed_ones() {
    let device = device();
    // queries, keys, places before and after
    let cases = [
        (1, 1, 0, 0),
        (9, 9, 2, 1),
        (5, 9, 3, 0),
        (9, 5, 1, 2),
        (90, 90, 20, 20),
        (300, 300, 0, 7),
        (700, 700, 40, 300),
    ];
    for (queries, keys, before, after) in cases {
        let query = pair([1, 2, queries, 8], &device);
        let (key, value) = (pair([1, 1, keys, 8], &device), pair([1, 1, keys, 5], &device));
        let bias = pair([1, 2, queries, keys], &device);
        for causal in [false, true] {
            let what = format!("{queries} {keys} {before} {after} {causal}");
            let options = AttentionOptions { causal, window: Some([before, after]), ..Default::default() };
            let run = |q: Tensor<4>, k, v, b| attention(q, k, v, None, Some(b), options);
            compare!(&what, run, &device, query, key, value, bias);
            let run = |q: Tensor<4>, k, v| attention(q, k, v, None, None, options);
            compare!(format!("{what} without bias"), run, &device, query, key, value);
            if queries == keys {
                let lengths: Arc<[usize]> = vec![queries / 3, queries - queries / 3].into();
                let run = |q: Tensor<4>, k, v| attention_of_sequences(q, k, v, &lengths, options);
                compare!(format!("{what} end to end"), run, &device, query, key, value);
            }
        }
    }
}

#[test]
fn attention_reads_any_order_of_memory() {
    let device = device();
    let query = pair([2, 7, 3, 8], &device);
    let key = pair([2, 9, 3, 8], &device);
    let value = pair([2, 8, 3, 9], &device);
    let run = |q: Tensor<4>, k: Tensor<4>, v: Tensor<4>| {
        let heads_first = |x: Tensor<4>| x.swap_dims(1, 2);
        attention(heads_first(q), heads_first(k), v.permute([0, 2, 3, 1]), None, None, AttentionOptions::default())
    };
    compare!("strided", run, &device, query, key, value);
}

#[test]
fn looked_up_rows_and_their_gradients_are_the_composed_ones() {
    let device = device();
    for (entries, dim, batch, seq) in [(1, 1, 1, 1), (5, 3, 2, 9), (700, 65, 3, 40), (40_000, 7, 2, 3)] {
        let table = pair([entries, dim], &device);
        // Entries again and again, the last among them, in no order.
        let ids: Vec<i64> = (0..batch * seq).map(|place| ((place * 7919 + 1) % entries.min(31)) as i64).collect();
        let ids: Vec<i64> = ids.into_iter().map(|id| if id % 3 == 0 { entries as i64 - 1 - id } else { id }).collect();
        for dtype in [DType::I64, DType::I32] {
            let data = TensorData::new(ids.clone(), [batch, seq]);
            let ids = Tensor::<2, Int>::from_data(data, &device.clone().without_autodiff()).cast(dtype);
            let run = |table: Tensor<2>| embedding(table, ids.clone());
            compare!(format!("{entries} {dim} {dtype:?}"), run, &device, table);
        }
    }
}

#[test]
#[should_panic(expected = "expected an entry below 3, found 3")]
fn an_id_that_is_no_entry_is_refused() {
    let device = device();
    let table = Tensor::<2>::zeros([3, 2], &device);
    embedding(table, Tensor::from_data(TensorData::new(vec![0i64, 3], [1, 2]), &device));
}

#[test]
fn norms_are_the_composed_ones() {
    let device = device();
    for (rows, dim) in [(1, 1), (3, 5), (70, 48), (33, 384)] {
        let (x, residual) = (pair([2, rows, dim], &device), pair([2, rows, dim], &device));
        let (scale, shift) = (pair([dim], &device), pair([dim], &device));
        let run = |x: Tensor<3>, scale, shift| layer_norm(x, scale, Some(shift), 1e-5);
        // One number a row is always normalised to zero: nothing to compare but that it is.
        compare!(format!("norm {rows} {dim}"), run, &device, x, scale, shift);
        let run = |x: Tensor<3>, residual, scale, shift| add_norm(x, residual, scale, Some(shift), 1e-5);
        compare!(format!("sum and norm {rows} {dim}"), run, &device, x, residual, scale, shift);
        // An epsilon that matters: it belongs to the variance, under the root.
        let run = |x: Tensor<3>, scale| layer_norm(x, scale, None, 0.5);
        compare!(format!("norm without shift {rows} {dim}"), run, &device, x, scale);
    }
}

#[test]
fn linear_layers_are_the_composed_ones() {
    let device = device();
    for (rows, input, output) in [(1, 1, 1), (5, 7, 3), (63, 64, 70), (150, 96, 130)] {
        for kind in KINDS {
            let (x, weight, bias) =
                (pair([2, rows, input], &device), pair([input, output], &device), pair([output], &device));
            let run = |x: Tensor<3>, weight, bias| linear_activation(x, weight, Some(bias), kind);
            compare!(format!("{kind:?} {rows} {input} {output}"), run, &device, x, weight, bias);
            let run = |x: Tensor<3>, weight| linear_activation(x, weight, None, kind);
            compare!(format!("{kind:?} {rows} {input} {output} without bias"), run, &device, x, weight);
        }
    }
}

#[test]
fn mixed_precision_rounds_both_factors_of_every_product_and_nothing_else() {
    let device = device();
    for (rows, input, output) in [(1, 1, 1), (5, 7, 3), (70, 96, 131)] {
        let what = format!("{rows} {input} {output}");
        let (x, weight, bias) = (pair([rows, input], &device), pair([input, output], &device), pair([output], &device));
        let layer = |kind| linear_activation(x.fused.clone(), weight.fused.clone(), Some(bias.fused.clone()), kind);
        let rounded = |x: Tensor<2>| x.cast(DType::BF16).cast(DType::F64).detach();
        let (of_x, of_weight) = (rounded(x.fused.clone()), rounded(weight.fused.clone()));
        let exact = of_x.clone().matmul(of_weight.clone()) + bias.composed.clone().detach().unsqueeze();
        let found = in_mixed_precision(|| layer(Activation::Tanh));
        assert_near(&format!("{what}: tanh"), &values(found), &values(exact.clone().tanh()));
        let found = in_mixed_precision(|| layer(Activation::Identity));
        assert_near(&what, &values(found.clone()), &values(exact));
        let upstream = Tensor::random([rows, output], Distribution::Normal(0.0, 1.0), &device);
        let gradients = (found * upstream.clone()).sum().backward();
        let [of_rows, of_weights] = [x.fused.grad(&gradients), weight.fused.grad(&gradients)].map(Option::unwrap);
        let factor = rounded(upstream.clone());
        assert_near(&format!("{what}: rows"), &values(of_rows), &values(factor.clone().matmul(of_weight.transpose())));
        assert_near(&format!("{what}: weight"), &values(of_weights), &values(of_x.transpose().matmul(factor)));
        // No product: not rounded.
        let sums = upstream.cast(DType::F64).sum_dim(0);
        assert_near(&format!("{what}: bias"), &values(bias.fused.grad(&gradients).unwrap()), &values(sums));
    }
}

#[test]
fn mixed_precision_ends_with_its_call() {
    let device = device();
    let (x, weight) = (pair([3, 5], &device), pair([5, 4], &device));
    let run = || values(linear(x.fused.clone(), weight.fused.clone(), None));
    let before = run();
    let inside = in_mixed_precision(run);
    assert_ne!(inside, before, "factors are rounded inside");
    assert_eq!(run(), before, "and not behind it");
    assert!(std::panic::catch_unwind(|| in_mixed_precision(|| panic!("inside"))).is_err());
    assert_eq!(run(), before, "nor behind a panic");
}

#[test]
fn products_are_the_composed_ones() {
    let device = device();
    // Nothing, one number, small ones by one thread, many small ones, one by rows with a rest, several large ones.
    let cases = [(2, 3, 0, 2), (1, 1, 1, 1), (3, 5, 7, 6), (60, 33, 31, 34), (1, 300, 70, 129), (2, 1100, 9, 131)];
    for (count, rows, inner, columns) in cases {
        let (left, right) = (pair([count, rows, inner], &device), pair([count, inner, columns], &device));
        compare!(format!("{count} {rows} {inner} {columns}"), |l: Tensor<3>, r| product(l, r), &device, left, right);
        let (left, right) = (pair([inner, rows], &device), pair([columns, inner], &device));
        let run = |l: Tensor<2>, r: Tensor<2>| product(l.transpose(), r.transpose());
        compare!(format!("{rows} {inner} {columns}, both turned"), run, &device, left, right);
    }
}

#[test]
fn softmaxes_are_the_composed_ones() {
    let device = device();
    for (rows, classes) in [(1, 1), (5, 7), (3, 16), (90, 130), (2, 9001)] {
        let x = pair([2, rows, classes], &device);
        compare!(format!("softmax {rows} {classes}"), |x: Tensor<3>| softmax(x * 3.0, 2), &device, x);
        compare!(format!("logarithm {rows} {classes}"), |x: Tensor<3>| log_softmax(x * 3.0, 2), &device, x);
        // Along another dimension, and of numbers that are not in order.
        compare!(format!("other {rows} {classes}"), |x: Tensor<3>| softmax(x, 1), &device, x);
        compare!(format!("turned {rows} {classes}"), |x: Tensor<3>| log_softmax(x.swap_dims(1, 2), 2), &device, x);
    }
}

#[test]
fn log_likelihoods_are_the_composed_ones() {
    let device = device();
    for (rows, classes) in [(1, 1), (5, 7), (70, 130), (3, 9001)] {
        let x = pair([rows, classes], &device);
        let targets: Vec<i64> = (0..rows).map(|row| (row * 31 % classes) as i64).collect();
        let targets = || Tensor::<1, Int>::from_data(TensorData::new(targets.clone(), [rows]), &device);
        let run = |x: Tensor<2>| log_likelihood(x * 3.0, targets());
        compare!(format!("{rows} {classes}"), run, &device, x);
        let keep = Tensor::<1, Int>::arange(0..rows as i64, &device).remainder_scalar(3).equal_elem(0);
        let run = |x: Tensor<2>| cross_entropy(x, targets(), Some(keep.clone()));
        compare!(format!("{rows} {classes}, some kept"), run, &device, x);
    }
}

#[test]
fn softmaxes_of_extreme_numbers_are_what_they_should_be() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    let (least, none) = (f32::NEG_INFINITY, f32::NAN);
    let x = Tensor::<2>::from_floats([[1e30, -1e30, 1e30], [least, 0.0, least], [least; 3], [0.0, none, 0.0]], &device);
    let shares = values(softmax(x.clone(), 1));
    assert_eq!(shares[..6], [0.5, 0.0, 0.5, 0.0, 1.0, 0.0]);
    assert!(shares[6..].iter().all(|share| share.is_nan()), "nothing to share, or no numbers: {shares:?}");
    let logarithms = values(log_softmax(x.clone(), 1));
    assert_eq!(logarithms[3..6], [f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY]);
    let targets = Tensor::<1, Int>::from_data([0, 1, 0, 0], &device);
    let picked = values(log_likelihood(x, targets));
    assert!((picked[0] + 2f64.ln()).abs() < 1e-6 && picked[1] == 0.0, "{picked:?}");
    assert!(picked[2..].iter().all(|value| value.is_nan()), "{picked:?}");
}

#[test]
fn a_row_that_does_not_count_has_no_gradient_however_odd_it_is() {
    let device = device();
    let x = Tensor::<2>::from_floats([[1.0, 2.0], [f32::NEG_INFINITY, f32::NEG_INFINITY]], &device).require_grad();
    let likelihood = log_likelihood(x.clone(), Tensor::from_data([0, 1], &device));
    let gradients = likelihood.narrow(0, 0, 1).sum().backward();
    let found = values(x.grad(&gradients).expect("it is a leaf"));
    assert!((found[0] + found[1]).abs() < 1e-6 && found[0] > 0.7, "{found:?}");
    assert_eq!(found[2..], [0.0, 0.0]);
}

#[test]
fn activations_alone_are_the_composed_ones() {
    let device = device();
    for kind in KINDS {
        let x = pair([3, 41, 97], &device);
        compare!(format!("{kind:?}"), |x: Tensor<3>| activation(x.swap_dims(0, 2), kind), &device, x);
    }
}

#[test]
fn activations_are_right_far_out() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    let far = Tensor::<2>::from_floats([[-1e4, -90.0, -20.0, -5.0, 0.0, 5.0, 20.0, 90.0, 1e4]], &device);
    let one = Tensor::<2>::eye(9, &device);
    for kind in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Silu, Activation::Relu] {
        let fused = values(linear_activation(far.clone(), one.clone(), None, kind));
        let exact = values(activation(far.clone().cast(DType::F64), kind));
        for (found, exact) in fused.iter().zip(&exact) {
            assert!((found - exact).abs() <= 1e-5 * exact.abs().max(1.0), "{kind:?}: {found} against {exact}");
        }
    }
}

#[test]
fn adamw_is_the_composed_one() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    crate::seed(&device, 5);
    let count = 40_000; // more than one task
    let random = || Tensor::<1>::random([count], Distribution::Normal(0.0, 1.0), &device);
    let (mut weights, mut moments) = (random(), [Tensor::zeros([count], &device), Tensor::zeros([count], &device)]);
    let mut exact = weights.clone().cast(DType::F64);
    let mut exact_moments = moments.clone().map(|moment: Tensor<1>| moment.cast(DType::F64));
    for time in 1..=5 {
        let gradient = random();
        let step = AdamWStep { beta_1: 0.9, beta_2: 0.98, epsilon: 1e-8, rate: 1e-2, decay: 0.1, scale: 0.5, time };
        let before = weights.clone();
        (weights, moments) = adamw(weights, gradient.clone(), moments, step);
        assert!(
            (before - weights.clone()).abs().max().into_scalar::<f32>() > 1e-3,
            "what another holds stays as it was"
        );
        (exact, exact_moments) = adamw(exact, gradient.cast(DType::F64), exact_moments, step);
    }
    assert_near("weights", &values(weights), &values(exact));
}

#[test]
fn squares_are_summed_whatever_their_number() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    crate::seed(&device, 12);
    for count in [0, 1, 17, 16_384, 16_385, 70_001] {
        let x = Tensor::<1>::random([count], Distribution::Normal(0.0, 1.0), &device);
        let exact: f64 = values(x.clone()).iter().map(|x| x * x).sum();
        let found = sum_of_squares(x);
        assert!((found - exact).abs() <= 1e-6 * exact, "{count}: {found}, expected {exact}");
    }
}

#[test]
fn attention_does_not_swallow_nan() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    let one = Tensor::<4>::ones([1, 1, 1, 8], &device);
    let output = attention(one.clone() * f32::NAN, one.clone(), one.clone(), None, None, AttentionOptions::default());
    assert!(values(output).iter().all(|value| value.is_nan()));
    // One key of many, in any block.
    for place in [0, 300, 999] {
        let keys = Tensor::<4>::ones([1, 1, 1000, 8], &device);
        let spoiled = keys.clone().slice_fill([0..1, 0..1, place..place + 1], f32::NAN);
        let output = attention(one.clone(), spoiled, keys, None, None, AttentionOptions::default());
        assert!(values(output).iter().all(|value| value.is_nan()), "a key at {place}");
    }
}
