//! The table of sines and cosines that says where a token stands without learning it.
//!
//! `table[place][2i] = sin(place / 10000^(2i/dim))`, `table[place][2i + 1] = cos(the same)`.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: none.

use std::sync::OnceLock;

use burn::prelude::*;

use crate::{ConfigError, check_size};

/// The most numbers of a table: half a gigabyte while it is made. A configuration is untrusted, and this is computed from it alone.
const MOST_NUMBERS: usize = 1 << 26;

/// The table of an encoder, row-major, `[places, dim]`.
pub(crate) fn sine_positions(encoder: &'static str, places: usize, dim: usize) -> Result<Vec<f64>, ConfigError> {
    check_table(encoder, places, dim)?;
    Ok(table(places, dim).collect())
}

fn check_table(encoder: &'static str, places: usize, dim: usize) -> Result<(), ConfigError> {
    check_size(encoder, "numbers of the table of positions", places.saturating_mul(dim), 1, MOST_NUMBERS)
}

fn table(places: usize, dim: usize) -> impl Iterator<Item = f64> {
    let length = move |index: usize| 10_000f64.powf((2 * (index / 2)) as f64 / dim as f64);
    let lengths: Vec<f64> = (0..dim).map(length).collect();
    (0..places * dim).map(move |number| {
        let (place, index) = (number / dim, number % dim);
        let angle = place as f64 / lengths[index];
        if index.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    })
}

/// The table of a module: in no file, and made when it is first asked for, so that a model's sizes can be told without it.
#[derive(Clone, Debug)]
pub(crate) struct SineTable {
    places: usize,
    dim: usize,
    made: OnceLock<(Device, Tensor<2>)>,
}

impl SineTable {
    pub(crate) fn new(encoder: &'static str, places: usize, dim: usize) -> Result<Self, ConfigError> {
        check_table(encoder, places, dim)?;
        Ok(Self { places, dim, made: OnceLock::new() })
    }

    pub(crate) fn places(&self) -> usize {
        self.places
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The table, `[places, dim]`, on a device: with gradients and without it is the same one.
    pub(crate) fn on(&self, device: &Device) -> Tensor<2> {
        let plain = device.clone().without_autodiff();
        let make = || {
            let values: Vec<f32> = table(self.places, self.dim).map(|value| value as f32).collect();
            Tensor::from_data(TensorData::new(values, [self.places, self.dim]), &plain)
        };
        let (known, made) = self.made.get_or_init(|| (plain.clone(), make()));
        // Whoever moves a module to another device pays for it at every call, and is right.
        let table = if *known == plain { made.clone() } else { make() };
        if device.is_autodiff() { Tensor::from_inner(table) } else { table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_and_cosines_of_one_angle_stand_side_by_side() {
        let table = sine_positions("any", 3, 5).unwrap();
        assert_eq!(table[..5], [0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(table[10..12], [2f64.sin(), 2f64.cos()]);
        assert_eq!(table[14], (2.0 / 10_000f64.powf(4.0 / 5.0)).sin(), "an odd width ends with a sine");
        let error = sine_positions("any", 1 << 20, 16_384).unwrap_err().to_string();
        assert!(error.contains("numbers of the table of positions"), "{error}");
    }

    #[test]
    fn a_table_is_made_once_for_training_and_evaluation() {
        let plain = florin_backend::device("cpu").expect("the cpu device is always there");
        let table = SineTable::new("any", 3, 4).unwrap();
        let trained = table.on(&plain.clone().autodiff());
        assert!(trained.is_autodiff() && !table.on(&plain).is_autodiff());
        assert_eq!(table.made.get().map(|(device, _)| device == &plain), Some(true));
        assert_eq!(trained.inner().into_data(), table.on(&plain).into_data());
    }
}
