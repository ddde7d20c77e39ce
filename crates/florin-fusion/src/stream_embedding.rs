//! How the token-wise kinds take streams of different widths in: one projection a modality to a common width, a learned mark that
//! says which modality a token is of, and, where asked for, a sinusoid that says which place it has in its stream.
//!
//! Paper: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
//! Difference: the mark is BERT's segment embedding with modalities for segments. Places count from one, as MulT has them:
//! `PE(i, 2j) = sin(i / 10000^(2j/dim))`, `PE(i, 2j + 1) = cos(i / 10000^(2j/dim))`.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{Linear, Modality, normal};

use crate::sequence::Sequence;
use crate::stream::Arranged;

/// Streams to a common width.
#[derive(Module, Debug)]
pub struct StreamEmbedding {
    /// One projection a modality.
    pub projections: Vec<Linear>,
    /// What marks each modality, `[modality, dim]`, where they are marked.
    pub marks: Option<Param<Tensor<2>>>,
    positions: bool,
}

impl StreamEmbedding {
    pub(crate) fn new(streams: &[(Modality, usize)], dim: usize, positions: bool, device: &Device) -> Self {
        Self {
            projections: streams.iter().map(|(_, width)| Linear::new(*width, dim, device)).collect(),
            marks: Some(normal([streams.len(), dim], 0.02, device)),
            positions,
        }
    }

    /// The same without marks: for kinds that never mix tokens of two modalities in one sequence.
    pub(crate) fn without_marks(mut self) -> Self {
        self.marks = None;
        self
    }

    /// The tokens of each modality that is given, `[batch, its own seq, dim]`.
    pub(crate) fn forward_all(&self, arranged: &Arranged) -> Vec<Option<Sequence>> {
        let embed = |(index, stream): (usize, &Option<_>)| stream.as_ref().map(|s| self.embed(index, &Sequence::of(s)));
        arranged.streams.iter().enumerate().map(embed).collect()
    }

    fn embed(&self, index: usize, sequence: &Sequence) -> Sequence {
        let mut x = self.projections[index].forward(sequence.values());
        if let Some(marks) = &self.marks {
            x = x + marks.val().narrow(0, index, 1).unsqueeze_dim::<3>(0);
        }
        if self.positions {
            let [_, seq, dim] = x.dims();
            x = x.clone() + sinusoids(seq, dim, &x.device()).cast(x.dtype()).unsqueeze_dim::<3>(0);
        }
        sequence.with(x)
    }
}

/// `[seq, dim]`
fn sinusoids(seq: usize, dim: usize, device: &Device) -> Tensor<2> {
    let value = |place: usize, column: usize| {
        let angle = place as f64 / 10_000f64.powf((column - column % 2) as f64 / dim as f64);
        (if column.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> = (0..seq * dim).map(|i| value(i / dim + 1, i % dim)).collect();
    Tensor::from_data(TensorData::new(values, [seq, dim]), device)
}

#[cfg(test)]
mod tests {
    use florin_nn::{Mask, Tokens};

    use super::*;
    use crate::Stream;

    #[test]
    fn a_token_tells_its_modality_and_its_place() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 1);
        let streams = [(Modality::Text, 2), (Modality::Image, 2)];
        let mut embedding = StreamEmbedding::new(&streams, 4, true, &device);
        embedding.projections[1] = embedding.projections[0].clone();
        let same = Tokens::new(Tensor::ones([1, 2, 2], &device), Mask::all_kept(1, 2, &device));
        let streams = streams.map(|(modality, _)| Stream::tokens(modality, same.clone()));
        let arranged = Arranged::new(&[Modality::Text, Modality::Image], &streams);
        let values = |given: &Option<Sequence>| {
            let values = given.as_ref().expect("given").values().into_data();
            values.try_to_vec::<f32>().expect("f32")
        };
        let found: Vec<Vec<f32>> = embedding.forward_all(&arranged).iter().map(values).collect();
        assert_ne!(found[0], found[1], "the same token of two modalities");
        assert_ne!(found[0][..4], found[0][4..], "the same token in two places");
        embedding.positions = false;
        let found: Vec<Vec<f32>> = embedding.forward_all(&arranged).iter().map(values).collect();
        assert_eq!(found[0][..4], found[0][4..], "places were not asked for");
    }

    #[test]
    fn places_count_from_one_and_sines_alternate_with_cosines() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let found = sinusoids(2, 3, &device).into_data().try_to_vec::<f32>().expect("f32");
        let third = 10_000f64.powf(2.0 / 3.0);
        let expected = [1f64.sin(), 1f64.cos(), (1.0 / third).sin(), 2f64.sin(), 2f64.cos(), (2.0 / third).sin()];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-7, "{found} against {expected}");
        }
    }
}
