//! The table of sines and cosines that says where a token stands without learning it.
//!
//! `table[place][2i] = sin(place / 10000^(2i/dim))`, `table[place][2i + 1] = cos(the same)`.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: none.

/// The table, row-major, `[places, dim]`.
pub(crate) fn sine_positions(places: usize, dim: usize) -> Vec<f64> {
    let angle = |place: usize, index: usize| place as f64 / 10_000f64.powf((2 * (index / 2)) as f64 / dim as f64);
    let value = |place, index| {
        let angle = angle(place, index);
        if index.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    (0..places).flat_map(|place| (0..dim).map(move |index| value(place, index))).collect()
}

#[test]
fn sines_and_cosines_of_one_angle_stand_side_by_side() {
    let table = sine_positions(3, 5);
    assert_eq!(table[..5], [0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(table[10..12], [2f64.sin(), 2f64.cos()]);
    assert_eq!(table[14], (2.0 / 10_000f64.powf(4.0 / 5.0)).sin(), "an odd width ends with a sine");
}
