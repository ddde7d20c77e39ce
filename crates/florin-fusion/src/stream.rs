//! What goes into a fusion and what comes out: streams of which any row may lack any, and one vector a row.

use burn::prelude::*;
use burn::tensor::DType;
use florin_nn::{Mask, Modality, Tokens};

/// One modality of a batch, as a fusion takes it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Which modality.
    pub modality: Modality,
    /// Its tokens; one a row where the modality is a pooled vector.
    pub tokens: Tokens,
    /// Whether each row of the batch has it. What stands in the tokens of a row that lacks it never matters.
    pub present: Vec<bool>,
}

/// What a fusion gives back.
#[derive(Clone, Debug)]
pub struct Fused {
    /// A vector a row, `[batch, dim]`.
    pub embedding: Tensor<2>,
    /// A vector for each token of the anchor, the first of the fusion's modalities, for the kinds that work on tokens.
    pub tokens: Option<Tokens>,
    /// How much each modality was leaned on, `[batch, modality]` in the fusion's order of modalities: zero for an absent
    /// one, summing to one over the present; zero everywhere in a row that has none. `None` where the kind defines no such thing.
    pub weights: Option<Tensor<2>>,
    /// What to add to the loss in training, `[1]`: for the kinds that learn how much to compute.
    pub cost: Option<Tensor<1>>,
}

impl Stream {
    /// A modality of which every row has tokens.
    pub fn tokens(modality: Modality, tokens: Tokens) -> Self {
        let [batch, _, _] = tokens.dims();
        Self { modality, tokens, present: vec![true; batch] }
    }

    /// A modality that is one vector a row, `[batch, dim]`.
    pub fn pooled(modality: Modality, vectors: Tensor<2>) -> Self {
        let [batch, _] = vectors.dims();
        let mask = Mask::all_kept(batch, 1, &vectors.device());
        Self::tokens(modality, Tokens::new(vectors.unsqueeze_dim(1), mask))
    }

    /// The same, of which only some rows have anything.
    ///
    /// # Panics
    ///
    /// If `present` is not one mark a row.
    pub fn present_in(mut self, present: Vec<bool>) -> Self {
        assert_eq!(present.len(), self.present.len(), "one mark a row of the batch is needed");
        self.present = present;
        self
    }
}

/// The streams of a batch in a fusion's own order of modalities.
pub(crate) struct Arranged {
    /// The stream of each modality, `None` where it was not given.
    pub(crate) streams: Vec<Option<Stream>>,
    /// Rows of the batch.
    pub(crate) batch: usize,
    /// Where the streams are.
    pub(crate) device: Device,
    /// Of what the streams' numbers are.
    pub(crate) dtype: DType,
}

impl Arranged {
    /// # Panics
    ///
    /// If no stream is given, one is of a modality that the fusion was not built for or is given twice, or batches differ.
    pub(crate) fn new(modalities: &[Modality], streams: &[Stream]) -> Self {
        let first = streams.first().expect("a fusion needs at least one stream");
        let [batch, _, _] = first.tokens.dims();
        let mut arranged: Vec<Option<Stream>> = vec![None; modalities.len()];
        for stream in streams {
            let name = stream.modality.name();
            let place = modalities.iter().position(|modality| *modality == stream.modality);
            let place = place.unwrap_or_else(|| panic!("this fusion was not built for {name}"));
            assert!(arranged[place].is_none(), "{name} is given twice");
            assert_eq!(stream.tokens.dims()[0], batch, "{name} has another batch than the first stream");
            assert_eq!(stream.present.len(), batch, "{name}: one mark a row of the batch is needed");
            arranged[place] = Some(stream.clone());
        }
        let values = first.tokens.padded();
        Self { streams: arranged, batch, device: values.device(), dtype: values.dtype() }
    }

    /// Whether a row has a modality.
    pub(crate) fn has(&self, row: usize, modality: usize) -> bool {
        self.streams[modality].as_ref().is_some_and(|stream| stream.present[row])
    }

    /// 1 where a row has a modality, 0 where it lacks it, `[batch, modality]`.
    pub(crate) fn presence(&self) -> Tensor<2> {
        self.numbers(self.streams.len(), |row, modality| f64::from(u8::from(self.has(row, modality))))
    }

    /// One vector a row of every modality, the mean of its tokens, `[batch, its width]` each; zero in the rows that lack it.
    ///
    /// # Panics
    ///
    /// If a stream has another width.
    pub(crate) fn vectors(&self, widths: &[usize]) -> Vec<Tensor<2>> {
        (0..self.streams.len()).map(|modality| self.vector(modality, widths[modality])).collect()
    }

    fn vector(&self, modality: usize, width: usize) -> Tensor<2> {
        let Some(stream) = &self.streams[modality] else {
            return Tensor::zeros([self.batch, width], (&self.device, self.dtype));
        };
        let vectors = stream.tokens.mean();
        let name = stream.modality.name();
        assert_eq!(vectors.dims(), [self.batch, width], "{name} has another width than the fusion was built for");
        if stream.present.iter().all(|&present| present) { vectors } else { self.fill(vectors, modality, 0.0) }
    }

    /// A value in place of what stands in the rows that lack a modality: not a product with zero, which would keep NaN.
    pub(crate) fn fill(&self, vectors: Tensor<2>, modality: usize, value: f32) -> Tensor<2> {
        let absent = self.absent(modality).unsqueeze_dim::<2>(1).expand(vectors.dims());
        vectors.mask_fill(absent, value)
    }

    /// True where a row lacks a modality, `[batch, modality]`.
    pub(crate) fn absences(&self) -> Tensor<2, Bool> {
        self.marks(self.streams.len(), |row, modality| !self.has(row, modality))
    }

    /// Marks of each row in so many columns, `[batch, columns]`.
    pub(crate) fn marks(&self, columns: usize, mark: impl Fn(usize, usize) -> bool) -> Tensor<2, Bool> {
        let marks: Vec<bool> = (0..self.batch * columns).map(|i| mark(i / columns, i % columns)).collect();
        Tensor::from_data(TensorData::new(marks, [self.batch, columns]), &self.device)
    }

    /// Numbers of each row in so many columns, `[batch, columns]`.
    pub(crate) fn numbers(&self, columns: usize, number: impl Fn(usize, usize) -> f64) -> Tensor<2> {
        let numbers: Vec<f64> = (0..self.batch * columns).map(|i| number(i / columns, i % columns)).collect();
        Tensor::from_data(TensorData::new(numbers, [self.batch, columns]), (&self.device, self.dtype))
    }

    /// Which modalities a row has.
    pub(crate) fn present(&self, row: usize) -> Vec<usize> {
        (0..self.streams.len()).filter(|&modality| self.has(row, modality)).collect()
    }

    /// True for each row that lacks a modality, `[batch]`.
    pub(crate) fn absent(&self, modality: usize) -> Tensor<1, Bool> {
        let marks: Vec<bool> = (0..self.batch).map(|row| !self.has(row, modality)).collect();
        Tensor::from_data(TensorData::new(marks, [self.batch]), &self.device)
    }
}
