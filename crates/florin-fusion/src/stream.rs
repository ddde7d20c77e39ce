//! What goes into a fusion and what comes out: streams of which any row may lack any, and one vector a row.

use burn::prelude::*;
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
        Self { streams: arranged, batch, device: first.tokens.padded().device() }
    }

    /// Whether a row has a modality.
    pub(crate) fn has(&self, row: usize, modality: usize) -> bool {
        self.streams[modality].as_ref().is_some_and(|stream| stream.present[row])
    }

    /// 1 where a row has a modality, 0 where it lacks it, `[batch, modality]`.
    pub(crate) fn presence(&self) -> Tensor<2> {
        let modalities = self.streams.len();
        let values: Vec<f32> =
            (0..self.batch * modalities).map(|i| f32::from(u8::from(self.has(i / modalities, i % modalities)))).collect();
        Tensor::from_data(TensorData::new(values, [self.batch, modalities]), &self.device)
    }

    /// True for each row that lacks a modality, `[batch]`.
    pub(crate) fn absent(&self, modality: usize) -> Tensor<1, Bool> {
        let marks: Vec<bool> = (0..self.batch).map(|row| !self.has(row, modality)).collect();
        Tensor::from_data(TensorData::new(marks, [self.batch]), &self.device)
    }
}
