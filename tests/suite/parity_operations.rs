//! Each operation and its gradient alone on every device of this build against `cpu` in f64: which of them loses the digits.
//!
//! A whole model's difference says that something is inexact; this says what.

use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use florin_backend::{
    Activation, AttentionOptions, activation, add_norm, attention, cross_entropy, embedding, layer_norm, linear,
    log_softmax, product, softmax,
};

use florin_nn::Mask;

use crate::golden_fixture::worse;
use crate::golden_tolerance::{PARITY_OPERATION, ROUNDING};

/// One operation on three matrices `[24, 24]` of numbers about one.
type Operation = fn([Tensor<2>; 3]) -> Tensor<2>;

const ROWS: usize = 24;

const OPERATIONS: [(&str, Operation); 43] = [
    ("add", |[a, b, _]| a + b),
    ("divide", |[a, b, _]| a / (b.clone() * b + 0.5)),
    ("square root", |[a, ..]| a.abs().sqrt()),
    ("exponential", |[a, ..]| (a * 3.0).exp()),
    ("logarithm", |[a, ..]| (a.abs() + 0.1).log()),
    ("error function", |[a, ..]| a.erf()),
    ("hyperbolic tangent", |[a, ..]| a.tanh()),
    ("sum", |[a, ..]| a.sum_dim(1)),
    ("matrix product", |[a, b, _]| product(a, b)),
    ("linear", |[a, b, c]| linear(a, b, Some(c.narrow(0, 0, 1).reshape([ROWS])))),
    ("gelu", |[a, ..]| activation(a, Activation::Gelu)),
    ("softmax", |[a, ..]| softmax(a * 3.0, 1)),
    ("log softmax", |[a, ..]| log_softmax(a * 3.0, 1)),
    ("cross-entropy", |[a, ..]| {
        let targets = Tensor::<1, Int>::arange(0..ROWS as i64, &a.device());
        cross_entropy(a * 3.0, targets, None).reshape([1, 1])
    }),
    ("layer norm", |[a, b, c]| {
        let row = |x: Tensor<2>| x.narrow(0, 0, 1).reshape([ROWS]);
        layer_norm(a, row(b), Some(row(c)), 1e-12)
    }),
    ("sum and layer norm", |[a, b, c]| {
        let row = |x: Tensor<2>, at| x.narrow(0, at, 1).reshape([ROWS]);
        add_norm(a, b, row(c.clone(), 0), Some(row(c, 1)), 1e-12)
    }),
    ("attention", |inputs| {
        let [query, key, value] = inputs.map(|x| x.reshape([1, 2, ROWS, ROWS / 2]));
        attention(query, key, value, None, None, AttentionOptions::default()).reshape([ROWS, ROWS])
    }),
    ("attention with hidden keys", |inputs| {
        let [query, key, value] = inputs.map(|x| x.reshape([3, 2, 8, ROWS / 2]));
        let hidden = Mask::from_lengths(&[8, 5, 1], 8, &query.device()).for_attention();
        attention(query, key, value, hidden, None, AttentionOptions::default()).reshape([ROWS, ROWS])
    }),
    ("attention with an odd number of keys", |inputs| {
        let [query, key, value] = inputs.map(|x| x.slice([0..18, 0..24]).reshape([1, 3, 9, 16]));
        attention(query, key, value, None, None, AttentionOptions::default()).reshape([18, 24])
    }),
    ("batched matrix product", |[a, b, _]| {
        let (a, b) = (a.reshape([3, 2, 12, 8]), b.reshape([3, 2, 12, 8]));
        product(a, b.swap_dims(2, 3)).reshape([36, 24])
    }),
    ("odd matrix product", |[a, b, _]| product(a.slice([0..9, 0..9]), b.slice([0..9, 0..16]))),
    ("odd batched matrix product", |[a, b, _]| {
        let a = a.slice([0..18, 0..24]).reshape([3, 9, 16]).narrow(2, 0, 9);
        product(a, b.slice([0..18, 0..24]).reshape([3, 9, 16])).reshape([27, 16])
    }),
    ("odd batched matrix product with a transpose", |[a, b, _]| {
        let [a, b] = [a, b].map(|x| x.slice([0..18, 0..24]).reshape([3, 9, 16]));
        product(a, b.swap_dims(1, 2)).reshape([27, 9])
    }),
    ("softmax over an odd number", |[a, ..]| {
        softmax(a.slice([0..18, 0..24]).reshape([1, 3, 16, 9]), 3).reshape([48, 9])
    }),
    ("heads split and joined", |[a, ..]| {
        let split = a.reshape([3, 8, 3, 8]).swap_dims(1, 2) * 1.5;
        split.swap_dims(1, 2).reshape([ROWS, ROWS])
    }),
    ("filled by an expanded mask", |[a, ..]| {
        let hidden = Mask::from_lengths(&[8, 5, 1], 8, &a.device()).hidden().unsqueeze_dims::<4>(&[1, 2]);
        let x = a.reshape([3, 3, 8, 8]);
        x.clone().mask_fill(hidden.expand(x.dims()), 0.5).reshape([ROWS, ROWS])
    }),
    ("embedding", |[a, ..]| {
        let ids = Tensor::<2, Int>::from_ints([[3, 0, 23], [7, 7, 1]], &a.device());
        embedding(a, ids).reshape([6, ROWS])
    }),
    ("softmax over few", |[a, ..]| softmax(a.reshape([8, 12, 2, 3]), 3).reshape([ROWS, ROWS])),
    ("joined along the last", |[a, b, _]| {
        let part = |x: Tensor<2>| x.reshape([4, 12, 12, 1]);
        Tensor::cat(vec![part(a), part(b)], 3).reshape([ROWS, 2 * ROWS])
    }),
    ("part of the last", |[a, ..]| {
        let x = a.reshape([8, 12, 2, 3]);
        (x.clone() * x.narrow(3, 1, 1)).reshape([ROWS, ROWS])
    }),
    ("cut at an odd place", |[a, ..]| a.slice([3..16, 5..18]) * 1.5),
    ("joined at an odd place", |[a, b, _]| Tensor::cat(vec![a.narrow(0, 0, 5), b.narrow(0, 3, 8)], 0) * 1.5),
    ("joined at an odd column", |[a, b, _]| Tensor::cat(vec![a.narrow(1, 0, 5), b.narrow(1, 3, 8)], 1) * 1.5),
    ("parts of a transpose", |[a, ..]| {
        let x = a.reshape([2, 12, 24]).narrow(2, 0, 9).swap_dims(1, 2); // [2, 9, 12]
        (x.clone().narrow(1, 0, 3) * x.clone().narrow(1, 3, 3) + x.narrow(1, 6, 3)).reshape([6, 12])
    }),
    ("linear layer of odd widths", |[a, b, c]| {
        linear(a.slice([0..18, 0..7]), b.slice([0..7, 0..9]), Some(c.slice([0..1, 0..9]).reshape([9])))
    }),
    ("linear layer of odd widths on tokens", |[a, b, c]| {
        let bias = c.slice([0..1, 0..9]).reshape([9]);
        linear(a.reshape([2, 12, 24]).narrow(2, 0, 16), b.slice([0..16, 0..9]), Some(bias)).reshape([24, 9])
    }),
    ("difference from the largest", |[a, ..]| {
        let x = a.slice([0..7, 0..19]);
        (x.clone() - x.detach().max_dim(1)).exp()
    }),
    ("log-sum-exp beside minus infinity", |[a, ..]| {
        let hidden = Mask::from_lengths(&[19, 5, 1, 7, 3, 2, 4], 19, &a.device()).hidden();
        let x = a.slice([0..7, 0..19]).mask_fill(hidden, f32::NEG_INFINITY);
        let most = x.clone().detach().max_dim(1);
        (x - most.clone()).exp().sum_dim(1).log() + most
    }),
    ("expanded and summed", |[a, b, _]| {
        let (a, b) = (a.slice([0..3, 0..9]), b.slice([0..3, 0..9]));
        (a.unsqueeze_dim::<3>(2) + b.unsqueeze_dim::<3>(1)).exp().reshape([27, 9])
    }),
    ("product of a product", |[a, b, c]| {
        let [a, b, c] = [a, b, c].map(|x| x.reshape([3, 2, 8, 12]));
        product(product(a, b.swap_dims(2, 3)), c).reshape([ROWS, ROWS])
    }),
    ("zeros after and cut", |[a, ..]| {
        let x = a.reshape([3, 2, 8, 12]);
        let zeros = Tensor::<4>::zeros([3, 2, 8, 4], &x.device()).cast(x.dtype());
        let x = Tensor::cat(vec![x, zeros], 3) * 1.5;
        (x.clone() * x).narrow(3, 0, 12).reshape([ROWS, ROWS])
    }),
    ("summed over the first", |[a, ..]| (a.slice([0..7, 0..9]) * 2.0).sum_dim(0)),
    ("gathered", |[a, ..]| {
        let places = Tensor::<2, Int>::from_ints([[0], [4], [8], [1], [1]], &a.device());
        (a.slice([0..5, 0..9]) * 1.5).gather(1, places)
    }),
];

#[test]
fn parity_of_each_operation() {
    compare("operation", |operation, inputs| flat(operation(inputs)));
}

#[test]
fn parity_of_each_gradient() {
    compare("gradient", |operation, inputs| {
        let device = inputs[0].device().autodiff();
        let inputs = inputs.map(|x| Tensor::<2>::from_inner(x).to_device(&device).require_grad());
        let result = operation(inputs.clone());
        let [rows, columns] = result.dims();
        // Neither constant nor symmetric, so that a gradient in the wrong place shows.
        let probe: Vec<f32> = (0..rows * columns).map(|place| ((place * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let probe = Tensor::<2>::from_data(TensorData::new(probe, [rows, columns]), &device).cast(result.dtype());
        let graph = (result * probe).sum().backward();
        inputs.iter().filter_map(|x| x.grad(&graph)).flat_map(flat).collect()
    });
}

/// Every operation on every device beside `cpu` in f64.
fn compare(what: &str, compute: fn(Operation, [Tensor<2>; 3]) -> Vec<f64>) {
    let cpu = florin_backend::device("cpu").expect("the cpu device is always there");
    florin_backend::seed(&cpu, 5);
    let inputs: [Tensor<2>; 3] =
        std::array::from_fn(|_| Tensor::random([ROWS, ROWS], Distribution::Normal(0.0, 1.0), &cpu));
    let compiled = florin_backend::available().into_iter().filter(|info| info.compiled);
    let mut failures = Vec::new();
    for info in compiled {
        let device = florin_backend::device(info.name).unwrap_or_else(|error| panic!("{error}"));
        for (name, operation) in OPERATIONS {
            let exact = compute(operation, inputs.clone().map(|x| x.cast(DType::F64)));
            let found = compute(operation, inputs.clone().map(|x| Tensor::from_data(x.into_data(), &device)));
            assert_eq!(found.len(), exact.len(), "{what} of {name} on {}", info.name);
            let scale = exact.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let gap = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, worse);
            let roundings = gap / scale / ROUNDING;
            println!(
                "parity {what} of {name} on {}: error {gap:.1e}, {roundings:.1} roundings of the largest value",
                info.name
            );
            if roundings.is_nan() || roundings > PARITY_OPERATION {
                failures.push(format!("{what} of {name} on {}: {roundings:.1} roundings", info.name));
            }
        }
    }
    assert!(failures.is_empty(), "beyond {PARITY_OPERATION} roundings:\n{}", failures.join("\n"));
}

fn flat(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec::<f64>().expect("just converted to f64")
}
