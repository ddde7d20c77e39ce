//! Which positions of a batch hold something.
//!
//! Burn's `true` means hidden, Hugging Face's 1 means keep, and a bare boolean tensor invites the bug: a `Mask` can be
//! made only through a constructor that says which it is.

use burn::prelude::*;

/// Hidden positions of a padded batch `[batch, seq]`.
#[derive(Clone, Debug)]
pub struct Mask {
    hidden: Tensor<2, Bool>,
    lengths: Vec<usize>,
}

impl Mask {
    /// The first `lengths[row]` positions of each row are kept.
    pub fn from_lengths(lengths: &[usize], seq: usize, device: &Device) -> Self {
        let hidden: Vec<bool> = lengths.iter().flat_map(|&length| (0..seq).map(move |i| i >= length)).collect();
        let data = TensorData::new(hidden, [lengths.len(), seq]);
        Self { hidden: Tensor::from_data(data, device), lengths: lengths.to_vec() }
    }

    /// Nothing is hidden.
    pub fn all_kept(batch: usize, seq: usize, device: &Device) -> Self {
        Self::from_lengths(&vec![seq; batch], seq, device)
    }

    /// `[batch, seq]`, true where hidden.
    pub fn hidden(&self) -> Tensor<2, Bool> {
        self.hidden.clone()
    }

    /// How many positions each row keeps.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Whether any position is hidden.
    pub fn hides_any(&self) -> bool {
        let [_, seq] = self.hidden.dims();
        self.lengths.iter().any(|&length| length < seq)
    }

    /// 1 where kept, 0 where hidden, `[batch, seq]`.
    pub fn kept(&self) -> Tensor<2> {
        self.hidden.clone().bool_not().float()
    }

    /// Keys that no query may attend to, `[batch, 1, 1, seq]`; `None` when nothing is hidden, which is faster.
    pub fn for_attention(&self) -> Option<Tensor<4, Bool>> {
        self.hides_any().then(|| self.hidden.clone().unsqueeze_dims(&[1, 2]))
    }
}
