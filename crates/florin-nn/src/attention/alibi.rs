//! Positions as a penalty: a key's score falls with its distance from the query, by a fixed slope a head.
//!
//! `score −= slope · |place of query − place of key|`. For n heads, n a power of two, the slopes are `2^(−8/n), 2^(−16/n), ..`;
//! otherwise those of the next smaller power, then every other slope of the next larger.
//!
//! Paper: Press et al. 2021 (ALiBi), <https://arxiv.org/abs/2108.12409>
//! Difference: the paper's attention is causal; without `causal` the same penalty holds for keys after the query, which the
//! authors' code names symmetric. BLOOM adds `slope · place of key` instead, which a softmax cannot tell from it.

use burn::prelude::*;

/// The slope of every head.
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    if heads == 0 {
        return Vec::new();
    }
    let whole = 1 << heads.ilog2();
    let of_power = |count: usize| (1..=count).map(move |index| (-8.0 * index as f64 / count as f64).exp2());
    of_power(whole).chain(of_power(2 * whole).step_by(2).take(heads - whole)).collect()
}

/// The bias that attention adds to its scaled scores; queries and keys are aligned at the end, as with a cache.
///
/// # Shapes
///
/// - output: `[1, heads, queries, keys]`
pub fn alibi_bias(heads: usize, queries: usize, keys: usize, device: &Device) -> Tensor<4> {
    let distance = |place: usize| (place / keys + keys).abs_diff(place % keys + queries) as f64;
    let values = alibi_slopes(heads).into_iter().flat_map(|slope| {
        (0..queries * keys).map(move |place| (-slope * distance(place)) as f32) // [queries, keys] of one head
    });
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [1, heads, queries, keys]), device)
}
