//! Word vectors of a frozen text encoder, computed once a line.
//!
//! Receipts repeat their lines: six hundred of them hold eleven thousand distinct ones. Where the encoder does not learn, a
//! line read alone always gives the same vectors, so that training costs only what stands above the encoder.

use std::collections::HashMap;
use std::sync::Arc;

use burn::prelude::*;
use florin_encoders::{BertEncoder, BertInput};
use florin_nn::Mask;

use super::{DocumentConfig, DocumentFeatures};

/// Word pieces encoded at once: enough to fill the processor, few enough to stay in its caches.
const PIECES_AT_ONCE: usize = 2_048;

/// What makes a line: the pieces of its words.
type Line = Vec<Arc<[u32]>>;

/// Vectors by line.
#[derive(Clone, Debug, Default)]
pub struct TextCache {
    lines: HashMap<Line, Arc<Vec<f32>>>,
}

impl TextCache {
    /// Nothing encoded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Distinct lines encoded so far.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing is encoded yet.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Encodes the lines of documents that are not known yet. `special` are the ids of the tokens before and after a text,
    /// and of padding.
    pub fn encode(
        &mut self,
        documents: &[&DocumentFeatures],
        encoder: &BertEncoder,
        config: &DocumentConfig,
        special: [u32; 3],
        device: &Device,
    ) {
        let mut unknown: Vec<Line> = documents
            .iter()
            .flat_map(|document| document.lines().map(<[_]>::to_vec))
            .filter(|line| !self.lines.contains_key(line))
            .collect();
        unknown.sort_by_cached_key(|line| (pieces(line, config), line.clone()));
        unknown.dedup();
        let mut rest = unknown.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_size(rest, config));
            for (line, vectors) in now.iter().zip(encode(now, encoder, config, special, device)) {
                self.lines.insert(line.clone(), Arc::new(vectors));
            }
            rest = later;
        }
    }

    /// The vectors of a document's words, row by row; zero for a line that was never encoded.
    pub(super) fn write(&self, document: &DocumentFeatures, into: &mut [f32], width: usize) {
        let mut place = 0;
        for line in document.lines() {
            let size = line.len() * width;
            if let Some(vectors) = self.lines.get(line) {
                into[place..place + size].copy_from_slice(vectors);
            }
            place += size;
        }
    }
}

/// Pieces of a line that are read, with the two around it.
fn pieces(line: &[Arc<[u32]>], config: &DocumentConfig) -> usize {
    let all: usize = line.iter().map(|word| word.len().min(config.pieces_per_word)).sum();
    (all + 2).min(config.text.max_position_embeddings)
}

/// How many lines, sorted by length, fit into one batch.
fn batch_size(lines: &[Line], config: &DocumentConfig) -> usize {
    let fits = |(index, line): &(usize, &Line)| (index + 1) * pieces(line, config) <= PIECES_AT_ONCE;
    lines.iter().enumerate().take_while(fits).count().max(1)
}

/// For every line, one row a word: the mean of its pieces in each of the chosen hidden states.
fn encode(
    lines: &[Line],
    encoder: &BertEncoder,
    config: &DocumentConfig,
    [before, after, padding]: [u32; 3],
    device: &Device,
) -> Vec<Vec<f32>> {
    let lengths: Vec<usize> = lines.iter().map(|line| pieces(line, config)).collect();
    let seq = lengths.iter().copied().max().unwrap_or(2);
    let mut ids = vec![padding as i32; lines.len() * seq];
    for (row, line) in lines.iter().enumerate() {
        let read = line.iter().flat_map(|word| word.iter().take(config.pieces_per_word)).take(seq - 2);
        let whole = std::iter::once(before).chain(read.copied()).chain(std::iter::once(after));
        for (id, piece) in ids[row * seq..].iter_mut().zip(whole) {
            *id = piece as i32;
        }
    }
    let ids = Tensor::from_data(TensorData::new(ids, [lines.len(), seq]), device);
    let input = BertInput::new(ids, Mask::from_lengths(&lengths, seq, device));
    let states = encoder.hidden_states(&input);
    let chosen = config.text_states.iter().map(|state| states[*state].clone()).collect();
    let joined = Tensor::cat(chosen, 2);
    let [_, _, width] = joined.dims();
    let values = joined.into_data().convert::<f32>().try_to_vec::<f32>().expect("hidden states were converted to f32");
    let of_line = |(row, line): (usize, &Line)| {
        let values = &values[row * seq * width..(row + 1) * seq * width];
        word_means(line, values, lengths[row] - 1, width, config.pieces_per_word)
    };
    lines.iter().enumerate().map(of_line).collect()
}

/// Means over each word's pieces; words beyond the encoder's positions stay zero.
fn word_means(line: &[Arc<[u32]>], values: &[f32], end: usize, width: usize, most: usize) -> Vec<f32> {
    let mut means = vec![0f32; line.len() * width];
    let mut place = 1;
    for (word, mean) in line.iter().zip(means.chunks_mut(width)) {
        let last = (place + word.len().min(most)).min(end);
        for piece in place..last {
            for (sum, value) in mean.iter_mut().zip(&values[piece * width..(piece + 1) * width]) {
                *sum += value / (last - place) as f32;
            }
        }
        place = last;
    }
    means
}
