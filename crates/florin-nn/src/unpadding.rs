//! A padded batch without its padding: sequences end to end in one row, and back.
//!
//! Norms and linear layers know only rows, attention keeps sequences apart by their lengths, so that nothing is computed for
//! padding: a batch of unlike lengths costs what its tokens do.

use std::sync::Arc;

use burn::prelude::*;
use florin_backend::rows;

use crate::{Conditions, Mask, TransformerBlock};

/// Where the kept positions of a batch `[batch, seq]` stand in one row, and the other way round.
#[derive(Clone, Debug)]
pub struct Unpadding {
    lengths: Arc<[usize]>,
    /// `[total]`, of each token its place in the batch.
    places: Tensor<1, Int>,
    /// `[batch · seq]`, of each place its token, and one behind them for padding.
    tokens: Tensor<1, Int>,
    shape: [usize; 2],
    holes: bool,
}

impl Unpadding {
    /// Of a batch with padding; none if nothing is hidden, or everything.
    pub fn of(mask: &Mask) -> Option<Self> {
        let lengths: Arc<[usize]> = mask.lengths().into();
        let total: usize = lengths.iter().sum();
        if !mask.hides_any() || total == 0 {
            return None;
        }
        let hidden = mask.hidden();
        let (shape, device) = (hidden.dims(), hidden.device());
        let hidden = hidden.into_data();
        let (mut places, mut tokens) = (Vec::with_capacity(total), Vec::with_capacity(hidden.num_elements()));
        let mut holes = false;
        // Devices keep marks in numbers of their own width.
        for (place, hidden) in hidden.iter::<bool>().enumerate() {
            tokens.push(if hidden { total as i64 } else { places.len() as i64 });
            if !hidden {
                let in_the_same_row = |before: i64| before / shape[1] as i64 == (place / shape[1]) as i64;
                holes |= places.last().is_some_and(|&before| in_the_same_row(before) && before + 1 != place as i64);
                places.push(place as i64);
            }
        }
        let whole = |numbers: Vec<i64>| Tensor::from_data(TensorData::from(numbers.as_slice()), &device);
        Some(Self { lengths, places: whole(places), tokens: whole(tokens), shape, holes })
    }

    /// The tokens alone.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    /// - output: `[1, total, dim]`
    pub fn remove(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, dim] = x.dims();
        assert_eq!([batch, seq], self.shape, "the batch that was unpadded");
        rows(x.reshape([batch * seq, dim]), self.places.clone()).unsqueeze_dim(0)
    }

    /// The tokens at their places, and zero in between.
    ///
    /// # Shapes
    ///
    /// - x: `[1, total, dim]`
    /// - output: `[batch, seq, dim]`
    pub fn restore(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, dim] = x.dims();
        let [batch, seq] = self.shape;
        let x: Tensor<2> = x.squeeze_dim(0);
        let nothing = Tensor::zeros([1, dim], (&x.device(), x.dtype()));
        rows(Tensor::cat(vec![x, nothing], 0), self.tokens.clone()).reshape([batch, seq, dim])
    }

    /// Whether something is hidden between tokens of a row: without it they stand nearer to each other than before, which positions and
    /// windows notice.
    pub fn has_holes(&self) -> bool {
        self.holes
    }

    /// Under which attention keeps the sequences apart.
    pub fn conditions(&self) -> Conditions {
        Conditions { sequences: Some(Arc::clone(&self.lengths)), ..Default::default() }
    }
}

/// What blocks make of the tokens of a batch. On the `cpu` device nothing is computed for padding, and zero stands there.
///
/// # Shapes
///
/// - x, output: `[batch, seq, dim]`
pub fn through_blocks(x: Tensor<3>, mask: &Mask, blocks: &[TransformerBlock], causal: bool) -> Tensor<3> {
    let through = |x, conditions: Conditions| {
        blocks.iter().fold(x, |x, block| block.forward_under(x, Conditions { causal, ..conditions.clone() }))
    };
    // Elsewhere the marks would have to be fetched from the device, and attention has no lengths.
    let unpadding = if florin_backend::fuses(&x) { Unpadding::of(mask) } else { None };
    match unpadding {
        Some(unpadding) => unpadding.restore(through(unpadding.remove(x), unpadding.conditions())),
        None => through(x, Conditions { hidden: mask.for_attention(), ..Default::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: Tensor<3>) -> Vec<f32> {
        x.into_data().try_to_vec::<f32>().expect("f32")
    }

    #[test]
    fn what_is_removed_comes_back_at_its_place_and_padding_is_zero() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        // Padding behind, before, everywhere and nowhere.
        let kept = [true, true, false, false, true, true, false, false, false, true, true, true];
        let mask = Mask::from_kept(&kept, 4, 3, &device);
        let unpadding = Unpadding::of(&mask).expect("something is hidden");
        let x = Tensor::<1, Int>::arange(1..25, &device).float().reshape([4, 3, 2]);
        let row = unpadding.remove(x.clone());
        assert_eq!(row.dims(), [1, 7, 2]);
        assert!(!unpadding.has_holes());
        let torn = Mask::from_kept(&[true, true, false, false, true, true], 2, 3, &device);
        assert!(!Unpadding::of(&torn).expect("something is hidden").has_holes(), "of two rows");
        let torn = Mask::from_kept(&[false, true, true, true, false, true], 2, 3, &device);
        assert!(Unpadding::of(&torn).expect("something is hidden").has_holes());
        assert_eq!(values(row.clone())[..6], [1.0, 2.0, 3.0, 4.0, 9.0, 10.0]);
        assert_eq!(values(unpadding.restore(row)), values(mask.zeroed(x)));
        assert!(Unpadding::of(&Mask::all_kept(2, 3, &device)).is_none());
        assert!(Unpadding::of(&Mask::from_lengths(&[0, 0], 3, &device)).is_none());
    }
}
