//! What depends on places: rotations, soft spans, biases by distance; and sparse weights, which attention takes instead of a softmax.

use super::*;
use crate::{Pairing, Rotation, along_diagonals, log_reach, rotate, sparsemax, without_hidden};

/// Places from a number on, with angles that no two pairs share.
fn rotation(pairing: Pairing, pairs: usize, first: usize, places: usize) -> Rotation {
    let angles =
        (first..first + places).flat_map(|place| (0..pairs).map(move |pair| place as f64 / (1.3 + pair as f64)));
    Rotation::new(pairing, pairs, angles)
}

#[test]
fn rotations_are_the_composed_ones_in_any_order_of_memory() {
    let device = device();
    for (heads, places, head_dim, pairs) in [(1, 1, 2, 1), (3, 5, 8, 4), (2, 7, 22, 9), (2, 300, 64, 32), (1, 9, 7, 2)]
    {
        for pairing in [Pairing::Halves, Pairing::Interleaved] {
            let what = format!("{heads} {places} {head_dim} {pairs} {pairing:?}");
            let rotation = rotation(pairing, pairs, 3, places);
            let x = pair([2, heads, places, head_dim], &device);
            compare!(&what, |x: Tensor<4>| rotate(x, &rotation), &device, x);
            let x = pair([2, places, heads, head_dim], &device);
            compare!(format!("{what} strided"), |x: Tensor<4>| rotate(x.swap_dims(1, 2), &rotation), &device, x);
        }
    }
}

#[test]
fn the_last_places_turn_as_they_do_among_all() {
    let device = device();
    let x = pair([1, 2, 4, 6], &device);
    let (all, own) = (rotation(Pairing::Halves, 3, 0, 9).last(4), rotation(Pairing::Halves, 3, 5, 4));
    for x in [x.fused, x.composed] {
        assert_eq!(values(rotate(x.clone(), &all)), values(rotate(x, &own)));
    }
}

#[test]
#[should_panic(expected = "angles of 3 places are needed")]
fn a_rotation_of_other_places_is_refused() {
    rotate(Tensor::zeros([1, 1, 3, 4], &device()), &rotation(Pairing::Halves, 2, 0, 4));
}

#[test]
fn soft_spans_let_through_what_the_composed_ones_do() {
    let device = device();
    for (seq, ramp) in [(1, 2.0), (9, 3.0), (70, 5.5), (200, 32.0)] {
        let span = pair([2, 3, seq, 1], &device);
        // Minus infinity has no difference: those places are compared as marks, and the rest by an exponential.
        let run = |span: Tensor<4>| log_reach(span.abs() * 4.0, ramp).exp();
        compare!(format!("{seq} {ramp}"), run, &device, span);
        let of = |span: Tensor<4>| values(log_reach(span.abs() * 4.0, ramp));
        let (found, exact) = (of(span.fused), of(span.composed));
        assert!(found.iter().zip(&exact).all(|(a, b)| a.is_finite() == b.is_finite()));
        assert_eq!(exact.iter().any(|x| x.is_infinite()), seq > 1, "{seq}: some keys are beyond some spans");
    }
}

#[test]
fn a_span_that_is_no_number_stays_none() {
    let span = Tensor::<4>::full([1, 1, 3, 1], f32::NAN, &device());
    assert!(values(log_reach(span, 2.0)).iter().all(|x| x.is_nan()));
}

#[test]
fn rows_lie_along_diagonals_as_the_composed_ones_do() {
    let device = device();
    for (heads, queries, keys) in [(1, 1, 1), (2, 3, 5), (3, 5, 3), (2, 1, 7), (2, 300, 130)] {
        let rows = pair([heads, queries + keys - 1], &device);
        compare!(format!("{heads} {queries} {keys}"), |rows| along_diagonals(rows, queries, keys), &device, rows);
    }
}

#[test]
fn hidden_rows_are_zero_whatever_stands_there() {
    let device = device();
    for (seq, dim, step) in [(1, 1, 1), (7, 5, 3), (90, 300, 2), (9, 4, 1000)] {
        // Every so many rows of a batch of two; of the last case none but the first.
        let marks: Vec<bool> = (0..2 * seq).map(|row| row % step == 0).collect();
        let hidden = Tensor::<2, Bool>::from_data(TensorData::new(marks, [2, seq]), &device.clone().without_autodiff());
        let x = pair([2, seq, dim], &device);
        compare!(format!("{seq} {dim}"), |x: Tensor<3>| without_hidden(x, hidden.clone()), &device, x);
        let torn =
            x.fused.clone().detach().mask_fill(hidden.clone().unsqueeze_dim::<3>(2).expand([2, seq, dim]), f32::NAN);
        let torn = torn.detach().require_grad();
        let kept = without_hidden(torn.clone(), hidden.clone());
        let gradients = (kept.clone() * x.fused.clone().detach()).sum().backward();
        assert!(values(kept).iter().all(|x| x.is_finite()));
        assert!(values(torn.grad(&gradients).expect("rows are tracked")).iter().all(|x| x.is_finite()));
        let none = hidden.clone().bool_and(hidden.clone().bool_not());
        assert_eq!(values(without_hidden(x.fused.clone(), none)), values(x.fused));
    }
}

#[test]
fn sparse_weights_are_the_composed_ones() {
    let device = device();
    for (rows, entries) in [(1, 1), (5, 3), (64, 130), (3, 5000)] {
        let scores = pair([2, rows, entries], &device);
        for size in [0.05, 1.0, 20.0] {
            let run = |x: Tensor<3>| sparsemax(x * size, None);
            compare!(format!("{rows} {entries} {size}"), run, &device, scores);
        }
        // Every third entry hidden, and all of the second row.
        let marks = (0..2 * rows * entries).map(|at| at % 3 == 1 || at / entries == 1).collect::<Vec<bool>>();
        let marks = TensorData::new(marks, [2, rows, entries]);
        let hidden = Tensor::<3, Bool>::from_data(marks, &device.clone().without_autodiff());
        let run = |x: Tensor<3>| sparsemax(x, Some(hidden.clone()));
        compare!(format!("{rows} {entries} hidden"), run, &device, scores);
    }
}
