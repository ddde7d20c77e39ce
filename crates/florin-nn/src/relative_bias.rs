//! A learned attention bias from where two boxes stand to each other on a page.
//!
//! Paper: Xu et al. 2020 (LayoutLMv2), <https://arxiv.org/abs/2012.14740>
//! Difference: distances are measured in line heights and bucketed logarithmically as in T5, so that a bias learned on one
//! page size holds on another.

use burn::module::Param;
use burn::prelude::*;

use crate::initialise::zeros;

/// One table of biases per direction, `[buckets, heads]`, zero at the start.
#[derive(Module, Debug)]
pub struct RelativeBias2d {
    /// Biases by horizontal distance.
    pub horizontal: Param<Tensor<2>>,
    /// Biases by vertical distance.
    pub vertical: Param<Tensor<2>>,
}

impl RelativeBias2d {
    /// All biases zero.
    pub fn new(buckets: usize, heads: usize, device: &Device) -> Self {
        Self { horizontal: zeros([buckets, heads], device), vertical: zeros([buckets, heads], device) }
    }

    /// # Shapes
    ///
    /// - horizontal, vertical: `[batch, seq, seq]`, buckets of the distance from query (second dimension) to key (third)
    /// - output: `[batch, heads, seq, seq]`
    pub fn forward(&self, horizontal: Tensor<3, Int>, vertical: Tensor<3, Int>) -> Tensor<4> {
        let [batch, seq, _] = horizontal.dims();
        let look_up = |table: &Param<Tensor<2>>, buckets: Tensor<3, Int>| {
            florin_backend::embedding(table.val(), buckets.reshape([batch, seq * seq]))
        };
        let bias = look_up(&self.horizontal, horizontal) + look_up(&self.vertical, vertical);
        let [_, _, heads] = bias.dims();
        bias.reshape([batch, seq, seq, heads]).permute([0, 3, 1, 2])
    }
}

/// The bucket of a signed distance: the lower half of the buckets for distances up to zero, the upper half for positive
/// ones; within a half, exact up to a quarter of the buckets and logarithmic up to `furthest`.
pub fn log_bucket(distance: f32, buckets: usize, furthest: f32) -> usize {
    let half = buckets / 2;
    let within = size_bucket(distance.abs(), half, furthest);
    if distance > 0.0 { half + within } else { within }
}

/// The bucket of a distance into the past, which is negative: all buckets for such distances, and the first for zero and for
/// positive ones.
pub fn past_log_bucket(distance: f32, buckets: usize, furthest: f32) -> usize {
    size_bucket((-distance).max(0.0), buckets, furthest)
}

/// The bucket of a distance without its sign: exact for the lower half of the buckets, then logarithmic.
fn size_bucket(size: f32, buckets: usize, furthest: f32) -> usize {
    let exact = buckets / 2;
    if size < exact as f32 {
        return size as usize;
    }
    let share = (size / exact as f32).ln() / (furthest / exact as f32).ln();
    (exact + (share * (buckets - exact) as f32) as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::{log_bucket, past_log_bucket};

    #[test]
    fn buckets_are_exact_near_and_saturate_far() {
        assert_eq!(log_bucket(0.0, 32, 64.0), 0);
        assert_eq!(log_bucket(-1.0, 32, 64.0), 1);
        assert_eq!(log_bucket(1.0, 32, 64.0), 17);
        assert_eq!(log_bucket(1e9, 32, 64.0), 31);
        assert_eq!(log_bucket(-1e9, 32, 64.0), 15);
        for size in 0..8 {
            assert_eq!(log_bucket(-(size as f32), 32, 64.0), size, "half of a side's buckets are exact");
        }
        assert_eq!([8.0, 11.0, 63.0].map(|size| log_bucket(-size, 32, 64.0)), [8, 9, 15], "then they are logarithmic");
        let far: Vec<usize> = (0..64).map(|d| log_bucket(d as f32, 32, 64.0)).collect();
        assert!(far.windows(2).skip(1).all(|pair| pair[0] <= pair[1]), "buckets must not fall with distance: {far:?}");
    }

    #[test]
    fn all_buckets_are_for_the_past_where_nothing_later_is_seen() {
        for size in 0..16 {
            assert_eq!(past_log_bucket(-(size as f32), 32, 128.0), size);
        }
        assert_eq!([16.0, 19.0, 127.0, 1e9].map(|size| past_log_bucket(-size, 32, 128.0)), [16, 17, 31, 31]);
        assert_eq!([1.0, 1e9].map(|size| past_log_bucket(size, 32, 128.0)), [0, 0]);
    }
}
