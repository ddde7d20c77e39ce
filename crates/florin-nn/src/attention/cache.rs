//! Keys and values of what came before, so that a new token does not compute them again.

use burn::prelude::*;

/// The past of one attention layer: keys as they were after any rotation, and values.
#[derive(Clone, Debug, Default)]
pub struct AttentionCache {
    past: Option<[Tensor<4>; 2]>,
}

impl AttentionCache {
    /// Nothing has come before.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many positions it holds.
    pub fn len(&self) -> usize {
        self.past.as_ref().map_or(0, |[key, _]| key.dims()[2])
    }

    /// Whether nothing has come before.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds new keys and values, `[batch, key heads, new, head_dim]`, and gives all.
    pub(crate) fn extend(&mut self, key: Tensor<4>, value: Tensor<4>) -> [Tensor<4>; 2] {
        let all = match self.past.take() {
            Some([past_key, past_value]) => {
                [Tensor::cat(vec![past_key, key], 2), Tensor::cat(vec![past_value, value], 2)]
            }
            None => [key, value],
        };
        self.past = Some(all.clone());
        all
    }
}
