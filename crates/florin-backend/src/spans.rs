//! What a softmax over every span of words costs.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedSpans, fuses};

/// Scores of fields in documents.
#[derive(Clone, Debug)]
pub struct FieldScores {
    /// Of the first word, `[batch, fields, words]`.
    pub start: Tensor<3>,
    /// Of every word, `[batch, fields, words]`.
    pub inside: Tensor<3>,
    /// Of the last word, `[batch, fields, words]`.
    pub end: Tensor<3>,
    /// Of there being no span, `[batch, fields]`.
    pub none: Tensor<2>,
}

/// `−log Σ p` over the right spans of each field, or of none where there is no right one, among all spans of at most `longest` words and none.
///
/// # Shapes
///
/// - scores: see [`FieldScores`]
/// - lengths: words of each document
/// - gold: `[batch, fields, words, words]`, true at (first, last) of every right span; one that cannot be is never right
/// - output: `[batch, fields]`
///
/// # Panics
///
/// If the shapes do not fit each other, or operations on the scores are not fused ([`fuses`](crate::fuses)).
pub fn span_costs(scores: FieldScores, lengths: &[usize], gold: Tensor<4, Bool>, longest: usize) -> Tensor<2> {
    let FieldScores { start, inside, end, none } = scores;
    let [batch, fields, words] = start.dims();
    assert!(fuses(&start), "spans are fused on the cpu device and in f32 alone");
    assert_eq!([inside.dims(), end.dims()], [[batch, fields, words]; 2], "scores of the same words are needed");
    assert_eq!((none.dims(), lengths.len()), ([batch, fields], batch), "a score of none and a length are needed");
    assert_eq!(gold.dims(), [batch, fields, words, words], "a mark for each span is needed");
    Tensor::from_dispatch(Dispatch::fused_spans(
        start.into_dispatch(),
        inside.into_dispatch(),
        end.into_dispatch(),
        none.into_dispatch(),
        gold.into_dispatch(),
        lengths.to_vec(),
        longest,
    ))
}
