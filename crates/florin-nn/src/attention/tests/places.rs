//! Where tokens stand: rotary positions, ALiBi and learned relative biases.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use proptest::prelude::*;

use super::{ROUNDING, device, gap, random, values};
use crate::{ConfigError, Pairing, RelativeBiasConfig, Rotary, Sides, alibi_bias, alibi_slopes};

const PAIRINGS: [Pairing; 2] = [Pairing::Halves, Pairing::Interleaved];

#[test]
fn the_first_place_is_not_turned_and_no_place_changes_a_length() {
    let device = device(1);
    for pairing in PAIRINGS {
        let rotary = Rotary { dim: Some(4), ..Rotary::new(pairing) };
        let x = random([2, 3, 5, 6], &device);
        let turned = rotary.rotate(x.clone(), 0);
        assert_eq!(gap(turned.clone().narrow(2, 0, 1), x.clone().narrow(2, 0, 1)), 0.0);
        assert_eq!(gap(turned.clone().narrow(3, 4, 2), x.clone().narrow(3, 4, 2)), 0.0, "only four numbers are turned");
        assert!(gap(turned.clone().narrow(2, 1, 4), x.clone().narrow(2, 1, 4)) > 0.1);
        let length = |x: Tensor<4>| x.square().sum_dim(3);
        assert!(gap(length(turned), length(x)) < ROUNDING * 10.0);
    }
}

#[test]
fn pairs_are_neighbours_or_halves() {
    let device = device(2);
    let x = Tensor::<4>::from_floats([[[[1.0, 0.0, 0.0, 0.0]]]], &device);
    let (sine, cosine) = 1f64.sin_cos();
    let turned = PAIRINGS.map(|pairing| values(Rotary::new(pairing).rotate(x.clone(), 1)));
    let near = |found: &[f64], expected: [f64; 4]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
    assert!(near(&turned[0], [cosine, 0.0, sine, 0.0]), "{:?}", turned[0]);
    assert!(near(&turned[1], [cosine, sine, 0.0, 0.0]), "{:?}", turned[1]);
    // The second pair turns by 10,000^(−2/4) = 1/100.
    let x = Tensor::<4>::from_floats([[[[0.0, 0.0, 1.0, 0.0]]]], &device);
    let turned = values(Rotary::new(Pairing::Interleaved).rotate(x, 1));
    assert!(near(&turned, [0.0, 0.0, 0.01f64.cos(), 0.01f64.sin()]), "{turned:?}");
}

#[test]
fn a_rotation_that_heads_cannot_have_is_refused() {
    let rotary = Rotary::new(Pairing::Halves);
    assert_eq!(rotary.validate(6), Ok(()));
    assert!(matches!(rotary.validate(5), Err(ConfigError::Range { name: "rotary: dim", .. })));
    assert!(Rotary { dim: Some(8), ..rotary }.validate(6).is_err());
    assert!(Rotary { base: 0.0, ..rotary }.validate(6).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_rotated_product_depends_on_the_distance_alone(seed in 0u64..1000, by in 0i64..100_000, apart in 0i64..50) {
        let device = device(seed);
        for pairing in PAIRINGS {
            let rotary = Rotary::new(pairing);
            let [query, key] = [(); 2].map(|()| random([1, 1, 1, 8], &device).cast(DType::F64));
            let product = |first: i64| {
                let (query, key) = (rotary.rotate(query.clone(), first + apart), rotary.rotate(key.clone(), first));
                values((query * key).sum())[0]
            };
            prop_assert!((product(0) - product(by)).abs() < 1e-8, "{pairing:?}");
        }
    }
}

#[test]
fn slopes_are_the_papers() {
    assert_eq!(alibi_slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
    // The authors' code for twelve heads: eight of those, then the odd ones of sixteen, 2^(−0.5), 2^(−1.5), ..
    let twelve = alibi_slopes(12);
    assert_eq!(twelve[..8], alibi_slopes(8));
    for (index, slope) in twelve[8..].iter().enumerate() {
        assert!((slope.log2() + 0.5 + index as f64).abs() < 1e-12);
    }
    assert_eq!(alibi_slopes(1), [2f64.powi(-8)]);
}

#[test]
fn distances_are_counted_from_the_last_key_back() {
    let device = device(3);
    let bias = values(alibi_bias(1, 2, 4, &device).reshape([2, 4]));
    let slope = 2f64.powi(-8);
    assert_eq!(bias.iter().map(|b| -b / slope).collect::<Vec<_>>(), [2.0, 1.0, 0.0, 1.0, 3.0, 2.0, 1.0, 0.0]);
}

#[test]
fn a_relative_bias_depends_on_the_distance_alone() {
    let device = device(4);
    for sides in [Sides::Both, Sides::Past] {
        let mut bias = RelativeBiasConfig { buckets: 8, heads: 2, furthest: 20, sides }.init(&device);
        assert_eq!(values(bias.forward(3, 3)), [0.0; 18], "zero at the start");
        bias.table = Param::from_tensor(random([8, 2], &device));
        let whole = bias.forward(6, 6);
        assert_eq!(whole.dims(), [1, 2, 6, 6]);
        let part = |from, at| whole.clone().narrow(2, from, 2).narrow(3, at, 3);
        assert_eq!(gap(part(0, 0), part(3, 3)), 0.0);
        assert_eq!(gap(bias.forward(2, 6), whole.clone().narrow(2, 4, 2)), 0.0, "aligned at the end");
        let later = whole.clone().narrow(2, 0, 1).narrow(3, 1, 5);
        let own = whole.clone().narrow(2, 0, 1).narrow(3, 0, 1).expand([1, 2, 1, 5]);
        assert_eq!(gap(later, own) == 0.0, sides == Sides::Past, "only encoders tell later keys from the query's own");
    }
}

#[test]
fn buckets_that_tell_nothing_apart_are_refused() {
    let config = RelativeBiasConfig::t5(4, Sides::Past);
    assert_eq!(config.validate(), Ok(()));
    assert!(RelativeBiasConfig { furthest: 16, ..config.clone() }.validate().is_err());
    assert_eq!(RelativeBiasConfig { furthest: 16, sides: Sides::Both, ..config.clone() }.validate(), Ok(()));
    assert!(RelativeBiasConfig { buckets: 3, ..config }.validate().is_err());
}
