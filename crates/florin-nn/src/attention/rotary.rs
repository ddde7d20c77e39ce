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
use florin_backend::{Pairing, Rotation, rotate};

use crate::config_error::ConfigError;

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
        rotate(x, &self.angles(first..first + seq as i64, head_dim))
    }

    /// The angles of places, which serve queries and keys of heads of that width.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn angles(&self, places: impl IntoIterator<Item = i64>, head_dim: usize) -> Rotation {
        self.validate(head_dim).unwrap_or_else(|error| panic!("{error}"));
        let dim = self.dim.unwrap_or(head_dim);
        let speeds: Vec<f64> = (0..dim / 2).map(|pair| self.base.powf(-2.0 * pair as f64 / dim as f64)).collect();
        let of_place = |place: i64| speeds.iter().map(move |speed| place as f64 * speed);
        Rotation::new(self.pairing, dim / 2, places.into_iter().flat_map(of_place))
    }
}
