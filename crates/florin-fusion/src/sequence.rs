//! Tokens inside the token-wise kinds: any position may be hidden, a row that lacks the modality hides them all, and what stands
//! in a hidden position is zero before any arithmetic, so that not even NaN gets out of it.

use burn::prelude::*;
use florin_nn::{Attention, Mask, Tokens};

use crate::Stream;

/// A batch of sequences, `[batch, seq, dim]`, with marks on the host: several are joined without asking the device.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    values: Tensor<3>,
    hidden: Vec<Vec<bool>>,
}

impl Sequence {
    /// The kept tokens of the rows that have the modality.
    pub(crate) fn of(stream: &Stream) -> Self {
        let [_, seq, _] = stream.tokens.dims();
        let lengths = stream.tokens.mask().lengths().iter().zip(&stream.present);
        let hidden = lengths.map(|(&length, &present)| (0..seq).map(|i| !present || i >= length).collect()).collect();
        Self { values: stream.tokens.padded(), hidden }.cleared()
    }

    /// Learned tokens, `[count, dim]`, in every row marked and hidden in the others.
    pub(crate) fn learned(tokens: Tensor<2>, rows: &[bool]) -> Self {
        let [count, dim] = tokens.dims();
        let values = tokens.unsqueeze_dim::<3>(0).expand([rows.len(), count, dim]);
        Self { values, hidden: rows.iter().map(|&kept| vec![!kept; count]).collect() }
    }

    /// One after another.
    pub(crate) fn joined(parts: &[Self]) -> Self {
        let values = Tensor::cat(parts.iter().map(Self::values).collect(), 1);
        let row = |row: usize| parts.iter().flat_map(|part| part.hidden[row].iter().copied()).collect();
        Self { values, hidden: (0..parts[0].hidden.len()).map(row).collect() }
    }

    /// The values of the first, of as many positions, kept wherever any of them keeps one.
    ///
    /// # Panics
    ///
    /// If they are not of one length.
    pub(crate) fn kept_in_any(parts: &[&Self]) -> Self {
        let mut all = parts[0].clone();
        for part in &parts[1..] {
            assert_eq!(part.seq(), all.seq(), "streams must be aligned token by token");
            for (row, other) in all.hidden.iter_mut().zip(&part.hidden) {
                row.iter_mut().zip(other).for_each(|(hidden, other)| *hidden &= other);
            }
        }
        all
    }

    /// `length` positions from `start` on.
    pub(crate) fn part(&self, start: usize, length: usize) -> Self {
        let hidden = self.hidden.iter().map(|row| row[start..start + length].to_vec()).collect();
        Self { values: self.values.clone().narrow(1, start, length), hidden }
    }

    /// Other values in the same positions.
    pub(crate) fn with(&self, values: Tensor<3>) -> Self {
        Self { values, hidden: self.hidden.clone() }
    }

    /// `[batch, seq, dim]`; finite everywhere, and without meaning where hidden.
    pub(crate) fn values(&self) -> Tensor<3> {
        self.values.clone()
    }

    /// Positions of a row, hidden ones among them.
    pub(crate) fn seq(&self) -> usize {
        self.values.dims()[1]
    }

    /// Whether each row keeps anything.
    pub(crate) fn rows(&self) -> Vec<bool> {
        self.hidden.iter().map(|row| row.contains(&false)).collect()
    }

    /// Keys that no query may attend to, `[batch, 1, 1, seq]`; `None` when nothing is hidden.
    pub(crate) fn hidden_keys(&self) -> Option<Tensor<4, Bool>> {
        self.hides_any().then(|| self.marks().unsqueeze_dims(&[1, 2]))
    }

    /// The marks as others take them.
    pub(crate) fn mask(&self) -> Mask {
        let kept: Vec<bool> = self.hidden.iter().flatten().map(|hidden| !hidden).collect();
        Mask::from_kept(&kept, self.hidden.len(), self.seq(), &self.values.device())
    }

    /// The mean over kept tokens, `[batch, dim]`; zero in a row that keeps none.
    pub(crate) fn mean(&self) -> Tensor<2> {
        let [batch, _, dim] = self.values.dims();
        let counts: Vec<f32> = self.counts().map(|count| count.max(1) as f32).collect();
        let counts = Tensor::<2>::from_data(TensorData::new(counts, [batch, 1]), &self.values.device());
        let sum = self.clone().cleared().values.sum_dim(1).reshape([batch, dim]);
        sum / counts.cast(self.values.dtype())
    }

    /// The last kept token, `[batch, dim]`; zero in a row that keeps none.
    pub(crate) fn last(&self) -> Tensor<2> {
        let [batch, seq, dim] = self.values.dims();
        let last = |row: &Vec<bool>| row.iter().rposition(|hidden| !hidden).unwrap_or(0);
        let places: Vec<i32> =
            self.hidden.iter().enumerate().map(|(index, row)| (index * seq + last(row)) as i32).collect();
        let places = Tensor::from_data(TensorData::new(places, [batch]), &self.values.device());
        let rows = self.values().reshape([batch * seq, dim]).select(0, places).unsqueeze_dim::<3>(1);
        without(rows, &self.rows()).reshape([batch, dim])
    }

    /// As others take it: zero where hidden, and nothing kept in the rows that lack it.
    pub(crate) fn into_tokens(self) -> Tokens {
        let lengths: Vec<usize> = self.counts().collect();
        let mask = Mask::from_lengths(&lengths, self.seq(), &self.values.device());
        Tokens::new(self.cleared().values, mask)
    }

    fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.hidden.iter().map(|row| row.iter().filter(|hidden| !**hidden).count())
    }

    fn hides_any(&self) -> bool {
        self.hidden.iter().any(|row| row.contains(&true))
    }

    /// `[batch, seq]`, true where hidden.
    fn marks(&self) -> Tensor<2, Bool> {
        let shape = [self.hidden.len(), self.seq()];
        Tensor::from_data(TensorData::new(self.hidden.concat(), shape), &self.values.device())
    }

    /// Zero where hidden. Filled, not multiplied: zero times NaN is NaN.
    fn cleared(self) -> Self {
        if !self.hides_any() {
            return self;
        }
        let marks = self.marks().unsqueeze_dim::<3>(2).expand(self.values.dims());
        Self { values: self.values.mask_fill(marks, 0.0), hidden: self.hidden }
    }
}

/// What queries find in a context that may be absent: exactly nothing where a row keeps none of it, not even the output's bias.
///
/// # Shapes
///
/// - queries, output: `[batch, queries, dim]`
/// - context: the context's normed values, `[batch, seq, context dim]`, with the marks of `marks`
pub(crate) fn attend(attention: &Attention, queries: Tensor<3>, context: Tensor<3>, marks: &Sequence) -> Tensor<3> {
    without(attention.forward(queries, context, marks.hidden_keys(), None), &marks.rows())
}

/// Zero in every row that is not marked, `[batch, seq, dim]`.
pub(crate) fn without(x: Tensor<3>, rows: &[bool]) -> Tensor<3> {
    if rows.iter().all(|&kept| kept) {
        return x;
    }
    let marks: Vec<bool> = rows.iter().map(|kept| !kept).collect();
    let marks = Tensor::<3, Bool>::from_data(TensorData::new(marks, [rows.len(), 1, 1]), &x.device());
    let marks = marks.expand(x.dims());
    x.mask_fill(marks, 0.0)
}
