//! Comparisons of rows, and likelihoods of rows of which some do not count.

use burn::prelude::*;
use burn::tensor::{DType, Distribution};

use super::{assert_near, device, pair, values};
use crate::{
    Counting, cosines, divergences, huber_differences, smoothed_log_likelihood, squared_differences, unit_rows,
    with_gradient,
};

/// Odd ones: less than a register, no multiple of one, and more than a task.
const SHAPES: [[usize; 2]; 5] = [[1, 1], [5, 7], [6, 16], [66, 131], [3, 9001]];

fn marked<const D: usize>(shape: [usize; D], of: impl Fn(usize) -> bool, device: &Device) -> Tensor<D, Bool> {
    let marks: Vec<bool> = (0..shape.iter().product()).map(of).collect();
    Tensor::from_data(TensorData::new(marks, shape), &device.clone().without_autodiff())
}

/// Every way of counting: all, some rows, some rows and columns by groups.
fn countings([rows, columns]: [usize; 2], device: &Device) -> Vec<Counting> {
    let some = || marked([rows], |row| row % 3 != 1, device);
    let groups = if rows.is_multiple_of(3) { 3 } else { 1 };
    // The last group sees everything, where there are several; the first never its last column.
    let seen = marked([groups, columns], |place| place / columns == 2 || (place + 1) % columns % 5 != 0, device);
    vec![
        Counting::rows(marked([rows], |_| true, device)),
        Counting::rows(some()),
        Counting { rows: some(), columns: Some(seen) },
    ]
}

#[test]
fn squared_differences_are_the_composed_ones() {
    let device = device();
    for shape in SHAPES {
        let (one, other) = (pair(shape, &device), pair(shape, &device).fused.detach());
        for (way, counting) in countings(shape, &device).into_iter().enumerate() {
            let run = |x: Tensor<2>| squared_differences(x.clone(), other.clone().cast(x.dtype()), counting.clone());
            compare!(format!("{shape:?}, way {way}"), run, &device, one);
            let run = |x: Tensor<2>| huber_differences(x.clone(), other.clone().cast(x.dtype()), counting.clone());
            compare!(format!("{shape:?}, way {way}, less far out"), run, &device, one);
        }
    }
}

#[test]
fn cosines_are_the_composed_ones() {
    let device = device();
    for shape in SHAPES {
        let (one, other) = (pair(shape, &device), pair(shape, &device).fused.detach());
        for counting in countings(shape, &device).into_iter().take(2) {
            let run = |x: Tensor<2>| cosines(x.clone(), other.clone().cast(x.dtype()), counting.rows.clone(), 0.5);
            compare!(format!("{shape:?}"), run, &device, one);
        }
    }
    let zeros = Tensor::<2>::zeros([1, 3], &device);
    let all = marked([1], |_| true, &device);
    assert_eq!(values(cosines(zeros.clone(), zeros, all, 1e-12)), [0.0]);
}

#[test]
fn divergences_are_the_composed_ones() {
    let device = device();
    for shape in SHAPES {
        let (student, teacher) = (pair(shape, &device), pair(shape, &device).fused.detach());
        for (way, counting) in countings(shape, &device).into_iter().enumerate() {
            for temperature in [1.0, 2.5] {
                let run = |x: Tensor<2>| {
                    let teacher = teacher.clone().cast(x.dtype()) * 2.0;
                    divergences(teacher, x * 3.0, temperature, counting.clone())
                };
                compare!(format!("{shape:?}, way {way}, temperature {temperature}"), run, &device, student);
            }
        }
    }
}

#[test]
fn smoothed_likelihoods_of_some_rows_are_the_composed_ones() {
    let device = device();
    for [rows, classes] in SHAPES {
        let x = pair([rows, classes], &device);
        let targets: Vec<i64> = (0..rows).map(|row| (row * 31 % classes) as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), &device);
        for smoothing in [0.0, 0.1] {
            let keep = marked([rows], |row| row % 3 != 1, &device);
            let run = |x: Tensor<2>| smoothed_log_likelihood(x * 3.0, targets.clone(), Some(keep.clone()), smoothing);
            compare!(format!("{rows} {classes}, smoothing {smoothing}"), run, &device, x);
            let run = |x: Tensor<2>| smoothed_log_likelihood(x * 3.0, targets.clone(), None, smoothing);
            compare!(format!("{rows} {classes}, all, smoothing {smoothing}"), run, &device, x);
        }
    }
}

#[test]
fn rows_of_length_one_are_the_composed_ones() {
    let device = device();
    for shape in SHAPES {
        let x = pair(shape, &device);
        compare!(format!("{shape:?}"), |x: Tensor<2>| unit_rows(x * 7.0), &device, x);
    }
    let zeros = Tensor::<2>::zeros([2, 3], &device).require_grad();
    let unit = unit_rows(zeros.clone());
    assert_eq!(values(unit.clone()), [0.0; 6]);
    let gradient = zeros.grad(&(unit * 1e-12).sum().backward()).expect("it is a leaf");
    assert_near("of zeros", &values(gradient), &[1.0; 6]);
}

#[test]
fn a_known_gradient_is_taken_times_the_slope_of_what_follows() {
    let device = device();
    let x = pair([3, 5], &device);
    let known = Tensor::<2>::random([3, 5], Distribution::Normal(0.0, 1.0), &device);
    let run = |x: Tensor<2>| {
        let known = known.clone().cast(x.dtype());
        let value = (x.clone().detach() * known.clone()).sum();
        with_gradient(with_gradient(value * 0.5, x.clone(), known.clone() * 0.5), x, known) * 3.0
    };
    compare!("known", run, &device, x);
    let constant = Tensor::<2>::ones([1, 1], &device);
    assert!(!with_gradient(constant.clone().sum(), constant.clone(), constant).is_tracked(), "nothing to learn");
}

#[test]
fn what_does_not_count_has_no_effect_not_even_when_it_is_no_number() {
    let device = device();
    let none = f32::NAN;
    let x = Tensor::<2>::from_floats([[1.0, 2.0, none], [none; 3], [0.5, -1.0, f32::INFINITY]], &device).require_grad();
    let other = Tensor::<2>::from_floats([[0.0, 2.5, 0.0], [0.0; 3], [none, none, none]], &device);
    let rows = marked([3], |row| row == 0, &device);
    let counting = Counting { rows: rows.clone(), columns: Some(marked([1, 3], |column| column < 2, &device)) };
    let targets = Tensor::<1, Int>::from_data([0, -7, 9000], &device);
    let finite = x.clone().narrow(1, 0, 2);
    let all = [
        squared_differences(x.clone(), other.clone(), counting.clone()),
        divergences(other, x.clone(), 1.0, counting),
        smoothed_log_likelihood(finite, targets, Some(rows), 0.1),
    ];
    for (which, cost) in all.into_iter().enumerate() {
        let found = values(cost.clone());
        assert!(found[0].is_finite() && found[0] != 0.0 && found[1..] == [0.0, 0.0], "{which}: {found:?}");
        let gradient = values(x.grad(&cost.sum().backward()).expect("it is a leaf"));
        assert!(gradient[0] != 0.0 && gradient[1] != 0.0, "{which}: {gradient:?}");
        assert_eq!(gradient[2..], [0.0; 7], "{which}");
    }
}

#[test]
fn numbers_that_count_and_are_none_are_not_swallowed() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    let (least, none) = (f32::NEG_INFINITY, f32::NAN);
    let all = |rows: usize| Counting::rows(marked([rows], |_| true, &device));
    let student = Tensor::<2>::from_floats([[0.0, none], [0.0, 0.0], [0.0, least], [least, 0.0]], &device);
    let teacher = Tensor::<2>::from_floats([[0.0, 0.0], [none, 0.0], [0.0, least], [0.0, least]], &device);
    let found = values(divergences(teacher.clone(), student.clone(), 2.0, all(4)));
    assert!(found[0].is_nan() && found[1].is_nan(), "{found:?}");
    // Both exclude the same; and the student excludes what the teacher is sure of.
    assert!(found[2] == 0.0 && found[3] == f64::INFINITY, "{found:?}");
    let squares = values(squared_differences(student, teacher, all(4)));
    assert!(squares[0].is_nan() && squares[1].is_nan() && squares[3] == f64::INFINITY, "{squares:?}");
    assert!(values(unit_rows(Tensor::from_floats([[none, 1.0]], &device))).iter().all(|value| value.is_nan()));
}

#[test]
fn no_rows_cost_nothing() {
    let device = crate::device("cpu").expect("the cpu device is always there");
    let nothing = Tensor::<2>::zeros([0, 5], &device);
    let none = || Counting::rows(marked([0], |_| true, &device));
    assert_eq!(squared_differences(nothing.clone(), nothing.clone(), none()).dims(), [0]);
    assert_eq!(divergences(nothing.clone(), nothing.clone(), 1.0, none()).dims(), [0]);
    assert_eq!(unit_rows(nothing.clone()).dims(), [0, 5]);
    assert_eq!(smoothed_log_likelihood(nothing, Tensor::zeros([0], &device), None, 0.1).dims(), [0]);
}

#[test]
fn a_pair_of_like_distributions_costs_nothing_however_large_the_logits() {
    let device = device();
    let x = Tensor::<2>::random([40, 33], Distribution::Normal(0.0, 1e4), &device).require_grad();
    let all = Counting::rows(marked([40], |_| true, &device));
    let cost = divergences(x.clone(), x.clone(), 3.0, all);
    assert_eq!(values(cost.clone()), [0.0; 40]);
    assert!(values(x.grad(&cost.sum().backward()).expect("it is a leaf")).iter().all(|&slope| slope == 0.0));
    assert_eq!(x.dtype(), DType::F32);
}

#[test]
fn what_is_compared_with_gets_no_gradient() {
    let device = device();
    for wide in [false, true] {
        let leaf = || {
            let x = Tensor::<2>::random([4, 3], Distribution::Normal(0.0, 1.0), &device);
            if wide { x.cast(DType::F64).detach().require_grad() } else { x.require_grad() }
        };
        let (student, teacher) = (leaf(), leaf());
        let all = || Counting::rows(marked([4], |_| true, &device));
        let costs = squared_differences(student.clone(), teacher.clone(), all())
            + divergences(teacher.clone(), student.clone(), 1.0, all());
        let gradients = costs.sum().backward();
        assert!(student.grad(&gradients).is_some());
        assert!(teacher.grad(&gradients).is_none(), "in f64: {wide}");
    }
}
