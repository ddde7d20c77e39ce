//! Any fusion of vectors, token by token: the words of a document, seen by each modality.

use florin_nn::{Mask, Tokens};

use crate::{Fused, Fusion, Stream};

/// Fuses aligned streams token by token: token i of every stream is the same thing, seen by each modality. `fuse` of a kind of
/// vectors then runs on each token alone; weights come back averaged over a row's kept tokens.
///
/// # Shapes
///
/// - streams: each `[batch, seq, its own width]` with the same mask
/// - tokens of the result: `[batch, seq, dim]`, embedding their mean over kept tokens `[batch, dim]`
///
/// # Panics
///
/// As [`Fusion::fuse`], and if the streams are not aligned.
pub fn fuse_each_token(fusion: &impl Fusion, streams: &[Stream]) -> Fused {
    let first = streams.first().expect("a fusion needs at least one stream");
    let [batch, seq, _] = first.tokens.dims();
    let mask = first.tokens.mask().clone();
    let rows: Vec<Stream> = streams.iter().map(|stream| rows_of(stream, batch, seq)).collect();
    let fused = fusion.fuse(&rows);
    let [_, dim] = fused.embedding.dims();
    let tokens = Tokens::new(fused.embedding.reshape([batch, seq, dim]), mask.clone());
    let weights = fused.weights.map(|weights| {
        let [_, modalities] = weights.dims();
        Tokens::new(weights.reshape([batch, seq, modalities]), mask).mean()
    });
    Fused { embedding: tokens.mean(), tokens: Some(tokens), weights, cost: fused.cost }
}

/// Fuses aligned streams by whatever kind: one that reads tokens gets them as they are, any other goes through
/// [`fuse_each_token`]. Either way there are tokens, as long as the anchor is among the streams.
///
/// # Shapes
///
/// As [`fuse_each_token`].
///
/// # Panics
///
/// As [`fuse_each_token`].
pub fn fuse_aligned(fusion: &impl Fusion, streams: &[Stream]) -> Fused {
    if fusion.works_on_tokens() { fusion.fuse(streams) } else { fuse_each_token(fusion, streams) }
}

/// Every token of a stream as a row of its own, absent where the token is padding.
fn rows_of(stream: &Stream, batch: usize, seq: usize) -> Stream {
    let [rows, length, width] = stream.tokens.dims();
    let name = stream.modality.name();
    assert_eq!([rows, length], [batch, seq], "{name} is not aligned with the first stream");
    let values = stream.tokens.padded().reshape([batch * seq, 1, width]);
    let tokens = Tokens::new(values.clone(), Mask::all_kept(batch * seq, 1, &values.device()));
    let kept = stream.present.iter().zip(stream.tokens.mask().lengths());
    let present = kept.flat_map(|(&present, &kept)| (0..seq).map(move |token| present && token < kept)).collect();
    Stream { modality: stream.modality, tokens, present }
}
