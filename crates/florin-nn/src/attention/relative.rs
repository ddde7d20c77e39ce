//! A learned bias from how far a key stands from its query.
//!
//! Distances fall into buckets, exact near the query and logarithmic further off; each head learns a number a bucket.
//!
//! Paper: Raffel et al. 2020 (T5), <https://arxiv.org/abs/1910.10683>
//! Difference: none. T5 itself does not divide scores by √head_dim; whoever loads its weights sets
//! [`crate::Conditions::scale`] to one.

use burn::module::Param;
use burn::prelude::*;

use crate::config_error::{ConfigError, none_is_zero};
use crate::initialise::zeros;
use crate::relative_bias::{log_bucket, past_log_bucket};

/// On which side of a query buckets tell distances apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// Half of the buckets for keys before the query and at it, half for keys after: encoders.
    Both,
    /// All buckets for keys before the query; keys after it share the bucket of distance zero: causal decoders.
    Past,
}

/// Sizes of a relative bias.
#[derive(Clone, Debug)]
pub struct RelativeBiasConfig {
    /// How many numbers each head learns, at least 4; T5 has 32.
    pub buckets: usize,
    /// Attention heads.
    pub heads: usize,
    /// Distances from here on share a bucket; T5 has 128.
    pub furthest: usize,
    /// Where buckets tell distances apart.
    pub sides: Sides,
}

/// Learned biases by distance, zero at the start.
#[derive(Module, Debug)]
pub struct RelativeBias {
    /// `[buckets, heads]`
    pub table: Param<Tensor<2>>,
    furthest: usize,
    #[module(skip)]
    sides: Sides,
}

impl RelativeBiasConfig {
    /// T5's buckets.
    pub fn t5(heads: usize, sides: Sides) -> Self {
        Self { buckets: 32, heads, furthest: 128, sides }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        none_is_zero(&[("relative bias: heads", self.heads)])?;
        let refuse = |name, range, found: usize| Err(ConfigError::Range { name, range, found: found.to_string() });
        if self.buckets < 4 {
            return refuse("relative bias: buckets", "at least 4", self.buckets);
        }
        let exact = if self.sides == Sides::Both { self.buckets / 4 } else { self.buckets / 2 };
        if self.furthest <= exact {
            return refuse(
                "relative bias: furthest",
                "beyond the distances that have buckets of their own",
                self.furthest,
            );
        }
        Ok(())
    }

    /// All biases zero.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> RelativeBias {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        RelativeBias { table: zeros([self.buckets, self.heads], device), furthest: self.furthest, sides: self.sides }
    }
}

impl RelativeBias {
    /// Queries and keys are aligned at the end, as with a cache.
    ///
    /// # Shapes
    ///
    /// - output: `[1, heads, queries, keys]`
    pub fn forward(&self, queries: usize, keys: usize) -> Tensor<4> {
        let table = self.table.val();
        let [_, heads] = table.dims();
        // A number for each distance, of which there are fewer than of queries and keys: from the last query's to the first key, to the first
        // query's to the last key.
        let distances = queries + keys - 1;
        let buckets: Vec<i32> =
            (0..distances).map(|place| self.bucket(place as i64 + 1 - keys as i64) as i32).collect();
        let buckets = Tensor::from_data(TensorData::new(buckets, [1, distances]), &table.device());
        let rows = florin_backend::embedding(table, buckets).reshape([distances, heads]);
        florin_backend::along_diagonals(rows.transpose(), queries, keys).unsqueeze()
    }

    /// The bucket of how far a key stands behind its query; a key before it has a negative distance.
    pub fn bucket(&self, distance: i64) -> usize {
        let [buckets, _] = self.table.val().dims();
        match self.sides {
            Sides::Both => log_bucket(distance as f32, buckets, self.furthest as f32),
            Sides::Past => past_log_bucket(distance as f32, buckets, self.furthest as f32),
        }
    }
}
