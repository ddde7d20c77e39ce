//! Attention of each query to the keys near it.
//!
//! [`SlidingWindow::hidden`] is the mask for any attention. [`SlidingWindow::attend`] computes the same in blocks: a block of
//! queries meets only the keys that any of them may see, so that cost and memory are O(seq · window) and not O(seq²). The `cpu`
//! device's own attention has windows and works in blocks anyway; elsewhere the blocks are cut here.
//!
//! Paper: Beltagy et al. 2020 (Longformer), <https://arxiv.org/abs/2004.05150>
//! Difference: no global tokens and no dilation.

use burn::prelude::*;
use florin_backend::{AttentionOptions, attention};

use crate::Mask;

/// Fewest queries of a block: smaller ones spend their time on beginning and ending operations.
const FEWEST: usize = 16;

/// Which keys a query sees: those from `before` places before it to `after` places after it, its own always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Places before the query.
    pub before: usize,
    /// Places after the query.
    pub after: usize,
}

impl SlidingWindow {
    /// The query and what came before it, `size` keys together: the window of Mistral. At least one key is seen.
    pub fn causal(size: usize) -> Self {
        Self { before: size.saturating_sub(1), after: 0 }
    }

    /// As many keys on each side of the query, and its own: a Longformer window of `2 · each_side`.
    pub fn around(each_side: usize) -> Self {
        Self { before: each_side, after: each_side }
    }

    /// True where a key is outside its query's window; queries and keys are aligned at the end, as with a cache.
    ///
    /// # Shapes
    ///
    /// - output: `[1, 1, queries, keys]`
    pub fn hidden(&self, queries: usize, keys: usize, device: &Device) -> Tensor<4, Bool> {
        let marks: Vec<bool> =
            (0..queries * keys).map(|place| !self.sees(place / keys + keys, place % keys + queries)).collect();
        Tensor::from_data(TensorData::new(marks, [1, 1, queries, keys]), device)
    }

    /// Scaled dot-product attention within the window, in blocks: equal to [`florin_backend::attention`] with
    /// [`hidden`](Self::hidden), gradients too, up to rounding.
    ///
    /// # Shapes
    ///
    /// - query, output: `[batch, heads, seq, head_dim]`
    /// - key, value: `[batch, key heads, seq, head_dim]`, key heads dividing heads
    /// - mask: padding of the keys, `[batch, seq]`
    ///
    /// # Panics
    ///
    /// If queries and keys are not equally many.
    pub fn attend(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        mask: Option<&Mask>,
        scale: Option<f64>,
    ) -> Tensor<4> {
        let [batch, heads, seq, head_dim] = query.dims();
        assert_eq!(key.dims()[2], seq, "a block-local window is for queries and keys of one sequence");
        if florin_backend::fuses(&query) {
            let options = AttentionOptions { scale, window: Some(self.sides()), ..Default::default() };
            return attention(query, key, value, mask.and_then(Mask::for_attention), None, options);
        }
        let blocks = Blocks::new(self, seq);
        let hidden = blocks.hidden(self, batch, mask, &query.device());
        let query = blocks.cut(query, 0, blocks.size);
        let [key, value] = [key, value].map(|x| blocks.cut(x, self.before, blocks.span));
        let options = AttentionOptions { scale, ..Default::default() };
        let mixed = attention(query, key, value, Some(hidden), None, options); // [blocks · batch, heads, size, head_dim]
        mixed
            .reshape([blocks.count, batch, heads, blocks.size, head_dim])
            .permute([1, 2, 0, 3, 4])
            .reshape([batch, heads, blocks.count * blocks.size, head_dim])
            .narrow(2, 0, seq)
    }

    /// How many places before its own and after it a query sees.
    pub(crate) fn sides(self) -> [usize; 2] {
        [self.before, self.after]
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        key + self.before >= query && key <= query + self.after
    }
}

/// A sequence in blocks of queries.
struct Blocks {
    seq: usize,
    count: usize,
    /// Queries of a block.
    size: usize,
    /// Keys that a block's queries may see.
    span: usize,
}

impl Blocks {
    fn new(window: &SlidingWindow, seq: usize) -> Self {
        let reach = window.before + window.after;
        let size = (reach + 1).max(FEWEST).min(seq.max(1));
        Self { seq, count: seq.div_ceil(size), size, span: size + reach }
    }

    /// The `span` places of each block, block after block, with `before` places of zeros in front:
    /// `[blocks · batch, heads, span, dim]`.
    fn cut(&self, x: Tensor<4>, before: usize, span: usize) -> Tensor<4> {
        let [batch, heads, seq, dim] = x.dims();
        let after = (self.count - 1) * self.size + span - before - seq;
        let zeros = |places| Tensor::<4>::zeros([batch, heads, places, dim], &x.device()).cast(x.dtype());
        let parts = [(before > 0).then(|| zeros(before)), Some(x.clone()), (after > 0).then(|| zeros(after))];
        let long = Tensor::cat(parts.into_iter().flatten().collect(), 2);
        Tensor::cat((0..self.count).map(|block| long.clone().narrow(2, block * self.size, span)).collect(), 0)
    }

    /// True where a key is outside the window, outside the sequence or padding: `[blocks · batch, 1, size, span]`.
    fn hidden(&self, window: &SlidingWindow, batch: usize, mask: Option<&Mask>, device: &Device) -> Tensor<4, Bool> {
        let mut marks = Vec::with_capacity(self.count * self.size * self.span);
        for query in 0..self.count * self.size {
            let first = query / self.size * self.size;
            // The place of the key plus `before`, which is never negative.
            marks.extend((first..first + self.span).map(|shifted| {
                let within = shifted >= window.before && shifted < self.seq + window.before;
                !(within && window.sees(query, shifted - window.before))
            }));
        }
        let shape = [self.count * batch, 1, self.size, self.span];
        let outside: Tensor<4, Bool> =
            Tensor::from_data(TensorData::new(marks, [self.count, 1, self.size, self.span]), device);
        let outside = outside.expand([self.count, batch, self.size, self.span]).reshape(shape);
        match mask.filter(|mask| mask.hides_any()) {
            Some(mask) => {
                let kept = self.cut(mask.kept().unsqueeze_dims(&[1, 3]), window.before, self.span);
                outside.bool_or(kept.equal_elem(0.0).swap_dims(2, 3).expand(shape))
            }
            None => outside,
        }
    }
}
