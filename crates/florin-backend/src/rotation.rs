//! Positions as rotations of pairs of numbers.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedPositions, serves};
pub use crate::kernels::rotation::Pairing;

/// By which angles the first numbers of every head are turned, place by place. Computed once, it serves queries and keys.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub(crate) pairing: Pairing,
    /// How many pairs of a head are turned.
    pub(crate) pairs: usize,
    /// `[places, pairs]`, both.
    pub(crate) cosines: Arc<[f64]>,
    pub(crate) sines: Arc<[f64]>,
    /// The place of the first row.
    pub(crate) first: usize,
}

impl Rotation {
    /// Angles in radians: for every place one for each pair, whose number divides theirs.
    pub fn new(pairing: Pairing, pairs: usize, angles: impl Iterator<Item = f64>) -> Self {
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        Self { pairing, pairs, cosines: cosines.into(), sines: sines.into(), first: 0 }
    }

    /// Of the last so many places alone.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn last(&self, places: usize) -> Self {
        let all = self.cosines.len() / self.pairs;
        assert!(places <= all, "{places} places of {all}");
        Self { first: all - places, ..self.clone() }
    }

    /// Cosines and sines of the places from the first row's on.
    pub(crate) fn tables(&self) -> [&[f64]; 2] {
        [&self.cosines, &self.sines].map(|table| &table[self.first * self.pairs..])
    }
}

/// Every head turned by the angles of its place; numbers behind the turned pairs stay.
///
/// # Shapes
///
/// - x, output: `[batch, heads, places, head_dim]`
///
/// # Panics
///
/// If the angles are of other places or of more numbers than a head has.
pub fn rotate(x: Tensor<4>, rotation: &Rotation) -> Tensor<4> {
    let [_, _, places, head_dim] = x.dims();
    let Rotation { pairs, .. } = *rotation;
    assert!(pairs > 0 && 2 * pairs <= head_dim, "{pairs} pairs of a head of {head_dim} numbers");
    assert_eq!(rotation.tables()[0].len(), places * pairs, "angles of {places} places are needed");
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_rotation(x.into_dispatch(), rotation.clone(), false));
    }
    let still = (2 * pairs < head_dim).then(|| x.clone().narrow(3, 2 * pairs, head_dim - 2 * pairs));
    let [cosines, sines] = rotation.tables().map(|table| {
        let data = TensorData::new(table.to_vec(), [1, 1, places, pairs]).convert_dtype(x.dtype());
        Tensor::<4>::from_data(data, (&x.device(), x.dtype()))
    });
    let turned = match rotation.pairing {
        Pairing::Halves => halves(x, cosines, sines),
        Pairing::Interleaved => interleaved(x, cosines, sines),
    };
    match still {
        Some(still) => Tensor::cat(vec![turned, still], 3),
        None => turned,
    }
}

fn halves(x: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> Tensor<4> {
    let [_, _, _, pairs] = cosines.dims();
    let (one, other) = (x.clone().narrow(3, 0, pairs), x.narrow(3, pairs, pairs));
    Tensor::cat(turn(one, other, cosines, sines).to_vec(), 3)
}

fn interleaved(x: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> Tensor<4> {
    let ([batch, heads, places, _], [_, _, _, pairs]) = (x.dims(), cosines.dims());
    let x: Tensor<5> = x.narrow(3, 0, 2 * pairs).reshape([batch, heads, places, pairs, 2]);
    let member = |which| x.clone().narrow(4, which, 1).reshape([batch, heads, places, pairs]);
    let turned = turn(member(0), member(1), cosines, sines).map(|x| x.unsqueeze_dim::<5>(4));
    Tensor::cat(turned.to_vec(), 4).reshape([batch, heads, places, 2 * pairs])
}

fn turn(one: Tensor<4>, other: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> [Tensor<4>; 2] {
    let first = one.clone() * cosines.clone() - other.clone() * sines.clone();
    [first, other * cosines + one * sines]
}
