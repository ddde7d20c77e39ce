//! Multi-head attention over one sequence or from one sequence to another, its query heads sharing key heads or not.
//!
//! Per head of width d, `softmax(QKᵀ/√d)V`, masks before the softmax; the heads of a group read the same keys and values.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: a query that may see nothing gives zero, not the mean of everything.
//! Paper: Ainslie et al. 2023 (GQA), <https://arxiv.org/abs/2305.13245>
//! Difference: none; one key head is Shazeer's multi-query attention.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use florin_backend::{AttentionOptions, attention, attention_of_sequences, rotate};

use crate::attention::cache::AttentionCache;
use crate::attention::rotary::Rotary;
use crate::attention::window::SlidingWindow;
use crate::config_error::{ConfigError, none_is_zero};
use crate::{Linear, Mask};

/// Sizes of an attention layer.
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of the queries' input and of the output.
    pub dim: usize,
    /// Width of the keys' and values' input; `dim` for self-attention.
    pub context_dim: usize,
    /// Number of query heads; divides `dim` unless `head_dim` is given.
    pub heads: usize,
    /// Number of key and value heads, which divides `heads`: as many for multi-head attention, fewer for grouped-query, one for
    /// multi-query attention. Query heads `g·i .. g·(i + 1)` with `g = heads / key_heads` read key head `i`.
    pub key_heads: usize,
    /// Width of a head; `dim / heads` unless given.
    pub head_dim: Option<usize>,
    /// Which of the four projections have biases.
    pub biases: AttentionBiases,
}

/// Which of attention's four projections have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionBiases {
    /// The query's.
    pub query: bool,
    /// The key's. It shifts all scores of a query alike and so changes nothing: Whisper and BEiT leave it out.
    pub key: bool,
    /// The value's.
    pub value: bool,
    /// The output's.
    pub output: bool,
}

impl AttentionBiases {
    /// Every projection.
    pub const ALL: Self = Self { query: true, key: true, value: true, output: true };
    /// None.
    pub const NONE: Self = Self { query: false, key: false, value: false, output: false };
    /// Every one but the key's.
    pub const ALL_BUT_KEY: Self = Self { key: false, ..Self::ALL };
    /// The output's alone.
    pub const OUTPUT: Self = Self { output: true, ..Self::NONE };
}

/// Multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[dim, heads · head_dim]`
    pub query: Linear,
    /// `[context_dim, key_heads · head_dim]`
    pub key: Linear,
    /// `[context_dim, key_heads · head_dim]`
    pub value: Linear,
    /// `[heads · head_dim, dim]`
    pub output: Linear,
    heads: usize,
    key_heads: usize,
}

/// What, besides the inputs, decides who sees whom and how well.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Broadcastable to `[batch, heads, queries, keys]`, true where a key must not be seen.
    pub hidden: Option<Tensor<4, Bool>>,
    /// Broadcastable to the same, added to the scaled scores: [`crate::alibi_bias`], [`crate::RelativeBias`].
    pub bias: Option<Tensor<4>>,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// Positions of queries and keys.
    pub rotary: Option<Rotary>,
    /// Factor of the scores; `1/√head_dim` unless given.
    pub scale: Option<f64>,
    /// Which keys near its own place a query sees; all unless given.
    pub window: Option<SlidingWindow>,
    /// Lengths of sequences that lie end to end in the only row, each seeing itself alone ([`crate::Unpadding`]); nothing is hidden
    /// there, and nothing biased. Positions are rotated by places in the row: a product knows only how far apart two are.
    pub sequences: Option<Arc<[usize]>>,
}

impl AttentionConfig {
    /// Attention of a sequence to itself, with a key head for every query head.
    pub fn new(dim: usize, heads: usize) -> Self {
        Self { dim, context_dim: dim, heads, key_heads: heads, head_dim: None, biases: AttentionBiases::ALL }
    }

    /// Attention to a sequence of another width.
    pub fn with_context_dim(mut self, context_dim: usize) -> Self {
        self.context_dim = context_dim;
        self
    }

    /// Fewer key heads than query heads.
    pub fn with_key_heads(mut self, key_heads: usize) -> Self {
        self.key_heads = key_heads;
        self
    }

    /// Heads of a width of their own.
    pub fn with_head_dim(mut self, head_dim: usize) -> Self {
        self.head_dim = Some(head_dim);
        self
    }

    /// Biases in these projections alone.
    pub fn with_biases(mut self, biases: AttentionBiases) -> Self {
        self.biases = biases;
        self
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { dim, context_dim, heads, key_heads, head_dim, .. } = *self;
        if head_dim.is_none() && (heads == 0 || !dim.is_multiple_of(heads)) {
            return Err(ConfigError::Heads { heads, dim });
        }
        none_is_zero(&[("attention: heads", heads), ("attention: dim", dim), ("attention: context_dim", context_dim)])?;
        none_is_zero(&[("attention: head_dim", head_dim.unwrap_or(1))])?;
        if key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return Err(ConfigError::KeyHeads { key_heads, heads });
        }
        Ok(())
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses; configurations that a user writes are validated before.
    pub fn init(&self, device: &Device) -> Attention {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        let head_dim = self.head_dim.unwrap_or(self.dim / self.heads);
        let linear = |input, output, bias| match bias {
            true => Linear::new(input, output, device),
            false => Linear::without_bias(input, output, device),
        };
        Attention {
            query: linear(self.dim, self.heads * head_dim, self.biases.query),
            key: linear(self.context_dim, self.key_heads * head_dim, self.biases.key),
            value: linear(self.context_dim, self.key_heads * head_dim, self.biases.value),
            output: linear(self.heads * head_dim, self.dim, self.biases.output),
            heads: self.heads,
            key_heads: self.key_heads,
        }
    }
}

impl Attention {
    /// # Shapes
    ///
    /// - x: `[batch, queries, dim]`
    /// - context: `[batch, keys, context_dim]`
    /// - hidden: broadcastable to `[batch, heads, queries, keys]`, true where a key must not be seen
    /// - bias: broadcastable to the same, added to the scaled scores
    /// - output: `[batch, queries, dim]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        hidden: Option<Tensor<4, Bool>>,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        self.forward_under(x, context, Conditions { hidden, bias, ..Default::default() })
    }

    /// With all conditions. Queries and keys are aligned at the end: the last query stands at the place of the last key.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, queries, dim]`
    /// - context: `[batch, keys, context_dim]`
    /// - output: `[batch, queries, dim]`
    pub fn forward_under(&self, x: Tensor<3>, context: Tensor<3>, conditions: Conditions) -> Tensor<3> {
        let ([_, queries, _], [_, keys, _]) = (x.dims(), context.dims());
        let [query, key, value] = self.projected(x, context);
        let places = (keys as i64 - queries as i64).min(0)..keys as i64;
        let [query, key] = conditions.rotated([query, key], places);
        self.mixed(query, key, value, conditions)
    }

    /// The scaled scores alone, before masks and softmax: what one stream of tokens may add to another's, as the bias of its
    /// [`Conditions`].
    ///
    /// # Shapes
    ///
    /// - x: `[batch, queries, dim]`
    /// - context: `[batch, keys, context_dim]`
    /// - output: `[batch, heads, queries, keys]`
    pub fn scores(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<4> {
        let ([batch, queries, _], [_, keys, _]) = (x.dims(), context.dims());
        let query = split_heads(self.query.forward(x), self.heads);
        let key = split_heads(self.key.forward(context), self.key_heads);
        let head_dim = query.dims()[3];
        let group = self.heads / self.key_heads;
        let query = query.reshape([batch, self.key_heads, group * queries, head_dim]);
        let scores = florin_backend::product(query, key.swap_dims(2, 3)) / (head_dim as f64).sqrt();
        scores.reshape([batch, self.heads, queries, keys])
    }

    /// Self-attention of new tokens to themselves and to all that the cache holds, which they join. `hidden` and `bias` are over
    /// all keys, old and new. With `causal`, token after token gives what all tokens at once give.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, new, dim]`
    /// - output: `[batch, new, dim]`
    pub fn forward_cached(&self, x: Tensor<3>, cache: &mut AttentionCache, conditions: Conditions) -> Tensor<3> {
        let first = cache.len() as i64;
        let [query, key, value] = self.projected(x.clone(), x);
        let new = key.dims()[2] as i64;
        let [query, key] = conditions.rotated([query, key], first..first + new);
        let [key, value] = cache.extend(key, value);
        self.mixed(query, key, value, conditions)
    }

    /// Self-attention within a sliding window, in blocks: cost and memory are O(seq · window).
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    /// - mask: `[batch, seq]`
    pub fn forward_windowed(
        &self,
        x: Tensor<3>,
        window: SlidingWindow,
        mask: Option<&Mask>,
        rotary: Option<Rotary>,
    ) -> Tensor<3> {
        let [query, key, value] = self.projected(x.clone(), x);
        let conditions = Conditions { rotary, ..Default::default() };
        let places = 0..query.dims()[2] as i64;
        let [query, key] = conditions.rotated([query, key], places);
        self.output.forward(join_heads(window.attend(query, key, value, mask, None)))
    }

    fn projected(&self, x: Tensor<3>, context: Tensor<3>) -> [Tensor<4>; 3] {
        [
            split_heads(self.query.forward(x), self.heads),
            split_heads(self.key.forward(context.clone()), self.key_heads),
            split_heads(self.value.forward(context), self.key_heads),
        ]
    }

    fn mixed(&self, query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, conditions: Conditions) -> Tensor<3> {
        let Conditions { hidden, bias, causal, scale, window, sequences, .. } = conditions;
        let options = AttentionOptions { scale, causal, window: window.map(SlidingWindow::sides) };
        let mixed = match sequences {
            Some(lengths) => {
                assert!(hidden.is_none() && bias.is_none(), "sequences end to end see only themselves");
                attention_of_sequences(query, key, value, &lengths, options)
            }
            None => attention(query, key, value, hidden, bias, options),
        };
        self.output.forward(join_heads(mixed))
    }
}

impl Conditions {
    /// Queries and keys turned by their places, of which each stands at the last.
    fn rotated(&self, both: [Tensor<4>; 2], places: Range<i64>) -> [Tensor<4>; 2] {
        let Some(rotary) = self.rotary else { return both };
        let [_, _, _, head_dim] = both[0].dims();
        let angles = rotary.angles(places, head_dim);
        both.map(|x| {
            let [_, _, seq, _] = x.dims();
            rotate(x, &angles.last(seq))
        })
    }
}

/// `[batch, seq, heads · head_dim]` to `[batch, heads, seq, head_dim]`.
pub(crate) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, seq, dim] = x.dims();
    x.reshape([batch, seq, heads, dim / heads]).swap_dims(1, 2)
}

/// `[batch, heads, seq, head_dim]` to `[batch, seq, heads · head_dim]`.
pub(crate) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, seq, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq, heads * head_dim])
}
