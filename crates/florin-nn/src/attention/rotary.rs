//! Positions as rotations: a query and a key are turned by angles that grow with their places, so that their product depends on
//! how far apart they stand.
//!
//! Numbers are rotated two by two, the pair i of d numbers at place p by `p · base^(−2i/d)`. Which two numbers are a pair
//! differs between checkpoints: neighbours (`Interleaved`: the paper, GPT-J) or a number and the one half a head further
//! (`Halves`: Hugging Face's LLaMA). The two agree only after a permutation of the query's and key's weights.
//!
//! Paper: Su et al. 2021 (RoFormer), <https://arxiv.org/abs/2104.09864>
//! Difference: the pairing is a choice; angles are computed in f64, so that far places lose no digits.

use burn::prelude::*;

use crate::config_error::ConfigError;

/// Which two numbers of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours: 0 and 1, 2 and 3.
    Interleaved,
    /// The first half with the second: 0 and d/2, 1 and d/2 + 1.
    Halves,
}

/// A rotary position embedding; it has no parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// Which numbers are pairs.
    pub pairing: Pairing,
    /// Base of the wavelengths, above 0; 10,000 in the paper.
    pub base: f64,
    /// How many numbers of each head are rotated, from the first on; all unless given, GPT-J has 64 of 256.
    pub dim: Option<usize>,
}

impl Rotary {
    /// All numbers rotated, with the paper's base.
    pub fn new(pairing: Pairing) -> Self {
        Self { pairing, base: 10_000.0, dim: None }
    }

    /// Refuses what heads of that width cannot have.
    pub fn validate(&self, head_dim: usize) -> Result<(), ConfigError> {
        let dim = self.dim.unwrap_or(head_dim);
        let refuse = |name, range, found| Err(ConfigError::Range { name, range, found });
        if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) {
            return refuse("rotary: dim", "even, above 0 and at most head_dim", dim.to_string());
        }
        if !(self.base > 0.0 && self.base.is_finite()) {
            return refuse("rotary: base", "above 0", self.base.to_string());
        }
        Ok(())
    }

    /// Turns every position by its place, the first of which is `first`: with a cache, how many came before.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, heads, seq, head_dim]`
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn rotate(&self, x: Tensor<4>, first: i64) -> Tensor<4> {
        let [_, _, seq, head_dim] = x.dims();
        self.validate(head_dim).unwrap_or_else(|error| panic!("{error}"));
        let dim = self.dim.unwrap_or(head_dim);
        let still = (dim < head_dim).then(|| x.clone().narrow(3, dim, head_dim - dim));
        let x = x.narrow(3, 0, dim);
        let [cosines, sines] = self.tables(seq, dim, first, &x);
        let turned = match self.pairing {
            Pairing::Halves => halves(x, cosines, sines),
            Pairing::Interleaved => interleaved(x, cosines, sines),
        };
        match still {
            Some(still) => Tensor::cat(vec![turned, still], 3),
            None => turned,
        }
    }

    /// Cosines and sines of the angles, each `[1, 1, seq, dim / 2]`, of the kind of `like`.
    fn tables(&self, seq: usize, dim: usize, first: i64, like: &Tensor<4>) -> [Tensor<4>; 2] {
        let half = dim / 2;
        let angle = |index: usize| {
            let place = (first + (index / half) as i64) as f64;
            place * self.base.powf(-2.0 * (index % half) as f64 / dim as f64)
        };
        [f64::cos, f64::sin].map(|of: fn(f64) -> f64| {
            let values: Vec<f64> = (0..seq * half).map(|index| of(angle(index))).collect();
            let data = TensorData::new(values, [1, 1, seq, half]).convert_dtype(like.dtype());
            Tensor::from_data(data, (&like.device(), like.dtype()))
        })
    }
}

fn halves(x: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> Tensor<4> {
    let [_, _, _, dim] = x.dims();
    let (one, other) = (x.clone().narrow(3, 0, dim / 2), x.narrow(3, dim / 2, dim / 2));
    Tensor::cat(turn(one, other, cosines, sines).to_vec(), 3)
}

fn interleaved(x: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> Tensor<4> {
    let shape @ [batch, heads, seq, dim] = x.dims();
    let pairs: Tensor<5> = x.reshape([batch, heads, seq, dim / 2, 2]);
    let member = |which| pairs.clone().narrow(4, which, 1).reshape([batch, heads, seq, dim / 2]);
    let turned = turn(member(0), member(1), cosines, sines).map(|x| x.unsqueeze_dim::<5>(4));
    Tensor::cat(turned.to_vec(), 4).reshape(shape)
}

fn turn(one: Tensor<4>, other: Tensor<4>, cosines: Tensor<4>, sines: Tensor<4>) -> [Tensor<4>; 2] {
    let first = one.clone() * cosines.clone() - other.clone() * sines.clone();
    [first, other * cosines + one * sines]
}
