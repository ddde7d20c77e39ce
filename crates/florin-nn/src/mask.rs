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

    /// Marks of any pattern, row by row, true where kept: padding may stand on either side.
    ///
    /// # Panics
    ///
    /// If there are not `batch · seq` marks.
    pub fn from_kept(kept: &[bool], batch: usize, seq: usize, device: &Device) -> Self {
        assert_eq!(kept.len(), batch * seq, "expected {batch} x {seq} marks");
        let hidden: Vec<bool> = kept.iter().map(|kept| !kept).collect();
        let count = |row: usize| kept[row * seq..(row + 1) * seq].iter().filter(|kept| **kept).count();
        let lengths = (0..batch).map(count).collect();
        Self { hidden: Tensor::from_data(TensorData::new(hidden, [batch, seq]), device), lengths }
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

    /// The same positions and then some that every row keeps, `[batch, seq + more]`, true where hidden.
    pub fn followed_by_kept(&self, more: usize) -> Tensor<2, Bool> {
        let kept = Self::all_kept(self.lengths.len(), more, &self.hidden.device());
        Tensor::cat(vec![self.hidden(), kept.hidden()], 1)
    }

    /// Values of which the hidden ones are zero, with a gradient of zero: whatever stood there, NaN included.
    ///
    /// # Shapes
    ///
    /// - values, output: `[batch, seq, dim]`
    pub fn zeroed(&self, values: Tensor<3>) -> Tensor<3> {
        if !self.hides_any() {
            return values;
        }
        florin_backend::without_hidden(values, self.hidden())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_positions_are_kept_and_burn_calls_the_others_true() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mask = Mask::from_lengths(&[1, 3], 3, &device);
        let hidden = mask.hidden().into_data().try_to_vec::<bool>().expect("marks");
        assert_eq!(hidden, [false, true, true, false, false, false]);
        assert_eq!(mask.kept().into_data().try_to_vec::<f32>().expect("f32"), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let same = Mask::from_kept(&[true, false, false, true, true, true], 2, 3, &device);
        assert_eq!(same.hidden().into_data().try_to_vec::<bool>().expect("marks"), hidden);
        assert_eq!(same.lengths(), [1, 3]);
        assert!(mask.for_attention().is_some() && Mask::all_kept(2, 3, &device).for_attention().is_none());
    }
}
