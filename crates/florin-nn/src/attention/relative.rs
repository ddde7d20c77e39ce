//! A learned bias from how far a key stands from its query.
//!
//! Distances fall into buckets, exact near the query and logarithmic further off; each head learns a number a bucket.
//!
//! Paper: Raffel et al. 2020 (T5), <https://arxiv.org/abs/1910.10683>
//! Difference: none. T5 itself does not divide scores by √head_dim; whoever loads its weights gives attention a scale of one.

use burn::module::Param;
use burn::prelude::*;

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

/// Learned biases by distance, zero at the start.
#[derive(Module, Debug)]
pub struct RelativeBias {
    /// `[buckets, heads]`
    pub table: Param<Tensor<2>>,
    furthest: usize,
    #[module(skip)]
    sides: Sides,
}

impl RelativeBias {
    /// All biases zero; T5 has 32 buckets and tells distances apart up to 128.
    ///
    /// # Panics
    ///
    /// If there are fewer buckets than 4, or distances are told apart no further than single ones are.
    pub fn new(buckets: usize, heads: usize, furthest: usize, sides: Sides, device: &Device) -> Self {
        let exact = if sides == Sides::Both { buckets / 4 } else { buckets / 2 };
        assert!(buckets >= 4, "a relative bias needs at least 4 buckets, found {buckets}");
        assert!(furthest > exact, "distances up to {exact} have buckets of their own; furthest is {furthest}");
        Self { table: zeros([buckets, heads], device), furthest, sides }
    }

    /// Queries and keys are aligned at the end, as with a cache.
    ///
    /// # Shapes
    ///
    /// - output: `[1, heads, queries, keys]`
    pub fn forward(&self, queries: usize, keys: usize) -> Tensor<4> {
        let table = self.table.val();
        let [_, heads] = table.dims();
        let buckets = TensorData::new(self.buckets(queries, keys), [1, queries * keys]);
        let bias = florin_backend::embedding(table.clone(), Tensor::from_data(buckets, &table.device()));
        bias.reshape([1, queries, keys, heads]).permute([0, 3, 1, 2])
    }

    /// The bucket of every query and key, `[queries, keys]`.
    pub fn buckets(&self, queries: usize, keys: usize) -> Vec<i32> {
        let [buckets, _] = self.table.val().dims();
        let of = |place: usize| {
            let distance = (place % keys + queries) as f32 - (place / keys + keys) as f32;
            match self.sides {
                Sides::Both => log_bucket(distance, buckets, self.furthest as f32),
                Sides::Past => past_log_bucket(distance, buckets, self.furthest as f32),
            }
        };
        (0..queries * keys).map(|place| of(place) as i32).collect()
    }
}
