//! Costs of rows of scores with their gradients: fused in f32, composed in f64.

use burn::prelude::*;
use burn::tensor::{DType, Distribution};

use super::{assert_near, device, values};
use crate::{AnswerGradient, KeyLists, RowCharges, RowTargets, charge_pairs, charge_rows, product};

fn plain() -> Device {
    device().without_autodiff()
}

fn normal(shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// One key, none, or every seventh; a hidden one that is not among them; keys that count twice, half, or never.
fn targets(rows: usize, keys: usize) -> [RowTargets; 3] {
    let one = |row: usize| [row * 31 % keys];
    let some = |row: usize| (0..keys).filter(move |key| row % 4 != 3 && (key + row).is_multiple_of(7) && key % 5 != 4);
    let hidden = |row: usize| (0..keys).filter(move |key| (key + row) % 7 == 1);
    let count = |key: usize| [0.0, 2f32.ln(), 0.5f32.ln(), 0.0, f32::NEG_INFINITY][key % 5];
    [
        RowTargets::new(KeyLists::new((0..rows).map(one))),
        RowTargets {
            hidden: KeyLists::new((0..rows).map(hidden)),
            ..RowTargets::new(KeyLists::new((0..rows).map(some)))
        },
        RowTargets {
            targets: KeyLists::new((0..rows).map(some)),
            hidden: KeyLists::new((0..rows).map(hidden)),
            log_counts: Some((0..keys).map(count).collect()),
        },
    ]
}

fn assert_like(what: &str, found: RowCharges, exact: RowCharges) {
    assert_near(&format!("{what}: costs"), &values(found.costs), &values(exact.costs));
    assert_near(&format!("{what}: hits"), &values(found.hits), &values(exact.hits));
    let (found, exact) = (found.gradient.expect("wanted"), exact.gradient.expect("wanted"));
    assert_near(&format!("{what}: products"), &values(found.products), &values(exact.products));
    assert_near(&format!("{what}: scale"), &values(found.scale), &values(exact.scale));
}

#[test]
fn charges_of_rows_are_the_composed_ones() {
    let device = plain();
    for [rows, keys] in [[1, 1], [5, 7], [7, 16], [64, 131], [3, 9001]] {
        let products = normal([rows, keys], &device);
        for (way, targets) in targets(rows, keys).iter().enumerate() {
            for scale in [0.3, 4.0] {
                let scale = Tensor::<1>::from_floats([scale], &device);
                let exact =
                    charge_rows(products.clone().cast(DType::F64), scale.clone().cast(DType::F64), targets, true);
                let found = charge_rows(products.clone(), scale.clone(), targets, true);
                assert_like(&format!("{rows} {keys}, way {way}"), found, exact);
                let alone = charge_rows(products.clone(), scale.clone(), targets, false);
                let both = charge_rows(products.clone(), scale, targets, true);
                assert_eq!(values(alone.costs), values(both.costs), "a gradient changes no cost");
                assert!(alone.gradient.is_none());
            }
        }
    }
}

#[test]
fn gradients_of_rows_are_slopes() {
    const STEP: f64 = 1e-6;
    let device = plain();
    let (products, scale) =
        (normal([6, 9], &device).cast(DType::F64), Tensor::<1>::from_floats([3.0], &device).cast(DType::F64));
    let cost = |products: &Tensor<2>, scale: &Tensor<1>, targets: &RowTargets| {
        values(charge_rows(products.clone(), scale.clone(), targets, false).costs.sum())[0]
    };
    for targets in &targets(6, 9) {
        let gradient = charge_rows(products.clone(), scale.clone(), targets, true).gradient.expect("wanted");
        for (place, found) in values(gradient.products).into_iter().enumerate() {
            let mut step = vec![0f64; 54];
            step[place] = STEP;
            let step = Tensor::<2>::from_data(TensorData::new(step, [6, 9]), (&device, DType::F64));
            let slope = cost(&(products.clone() + step.clone()), &scale, targets)
                - cost(&(products.clone() - step), &scale, targets);
            assert!((found - slope / (2.0 * STEP)).abs() < 1e-7, "{place}: {found}");
        }
        let slope =
            cost(&products, &(scale.clone() + STEP), targets) - cost(&products, &(scale.clone() - STEP), targets);
        assert!((values(gradient.scale)[0] - slope / (2.0 * STEP)).abs() < 1e-7);
    }
}

#[test]
fn charges_of_pairs_are_the_composed_ones() {
    let device = plain();
    for [rows, keys, first] in [[1, 1, 0], [5, 7, 2], [16, 16, 0], [64, 131, 67], [3, 9001, 8000]] {
        for [scale, bias] in [[1.0, -10.0], [5.0, 0.5]] {
            let products = normal([rows, keys], &device);
            let [scale, bias] = [scale, bias].map(|number| Tensor::<1>::from_floats([number], &device));
            let [wide_scale, wide_bias] = [&scale, &bias].map(|number| number.clone().cast(DType::F64));
            let exact = charge_pairs(products.clone().cast(DType::F64), first, wide_scale, wide_bias, true);
            let found = charge_pairs(products.clone(), first, scale.clone(), bias.clone(), true);
            let alone = charge_pairs(products, first, scale, bias, false);
            assert_eq!(values(alone.negative), values(found.negative.clone()), "a gradient changes no cost");
            let what = format!("{rows} {keys} {first}");
            assert_near(&what, &values(found.positive), &values(exact.positive));
            assert_near(&what, &values(found.negative), &values(exact.negative));
            let of = |gradient: Option<AnswerGradient>| {
                let AnswerGradient { products, scale, bias } = gradient.expect("wanted");
                [values(products), values(scale), values(bias)]
            };
            for (found, exact) in of(found.gradient).iter().zip(of(exact.gradient)) {
                assert_near(&what, found, &exact);
            }
        }
    }
}

#[test]
fn extreme_scores_cost_what_they_should() {
    let device = plain();
    let (least, none) = (f32::NEG_INFINITY, f32::NAN);
    let one = Tensor::<1>::ones([1], &device);
    let products =
        Tensor::<2>::from_floats([[1e30, -1e30, 1e30], [least, 0.0, least], [0.0, none, 0.0], [none; 3]], &device);
    let targets = RowTargets {
        hidden: KeyLists::new([vec![2], vec![], vec![], vec![]]),
        ..RowTargets::new(KeyLists::new([vec![0], vec![1], vec![0], vec![]]))
    };
    let charges = charge_rows(products, one.clone(), &targets, true);
    let costs = values(charges.costs);
    assert!(costs[0] == 0.0 && costs[1] == 0.0 && costs[2].is_nan() && costs[3] == 0.0, "{costs:?}");
    assert_eq!(values(charges.hits)[..2], [1.0, 1.0]);
    assert_eq!(values(charges.gradient.expect("wanted").products)[9..], [0.0; 3], "a row without targets");
    let far = Tensor::<2>::from_floats([[1e30, 1e30], [-1e30, -1e30]], &device);
    let charges = charge_pairs(far, 0, one.clone(), one, true);
    let (positive, negative) = (values(charges.positive)[0], values(charges.negative)[0]);
    assert!((positive / 1e30 - 1.0).abs() < 1e-6 && (negative / 1e30 - 1.0).abs() < 1e-6, "{positive} {negative}");
    assert_near("slopes", &values(charges.gradient.expect("wanted").products), &[0.0, 1.0, 0.0, -1.0]);
}

#[test]
fn no_rows_and_ties() {
    let device = plain();
    let one = Tensor::<1>::ones([1], &device);
    let charges = charge_rows(Tensor::zeros([0, 5], &device), one.clone(), &RowTargets::new(KeyLists::none(0)), true);
    assert_eq!(charges.costs.dims(), [0]);
    let targets = RowTargets::new(KeyLists::new([[0], [1]]));
    let tied = charge_rows(Tensor::zeros([2, 3], &device), one, &targets, false);
    assert_eq!(values(tied.hits), [0.0, 0.0], "a tie is no hit");
    assert_near("of equals", &values(tied.costs), &[3f64.ln(); 2]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let device = plain();
    let (one, other) = (normal([300, 64], &device), normal([300, 64], &device));
    let products = product(one, other.transpose());
    let scale = Tensor::<1>::from_floats([0.7], &device);
    let targets = &targets(300, 300)[2];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had");
        let charges = pool.install(|| charge_rows(products.clone(), scale.clone(), targets, true));
        let gradient = charges.gradient.expect("wanted");
        let pairs = pool.install(|| charge_pairs(products.clone(), 0, scale.clone(), scale.clone(), true));
        [values(charges.costs), values(gradient.products), values(gradient.scale), values(pairs.negative)]
    };
    assert_eq!(run(1), run(3));
}
