//! The layout encoder: where a word stands on its page and how it is printed.
//!
//! Paper: Xu et al. 2019 (LayoutLM), <https://arxiv.org/abs/1912.13318>
//! Difference: a stream of its own rather than a term added to the text's embeddings, with the word's place in its line and
//! features of its print beside the box.

use burn::prelude::*;
use florin_nn::{Embedding, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, Tokens};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, check_size};

/// Sizes of the encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayoutConfig {
    /// Steps into which each coordinate of the page is cut.
    pub bins: usize,
    /// Lines counted from the top and from the bottom before they are all the same.
    pub lines: usize,
    /// Words counted from either end of a line before they are all the same.
    pub words: usize,
    /// Numbers that describe the print of a word.
    pub print_features: usize,
    /// Width of the vectors.
    pub dim: usize,
}

/// A batch of words on their pages.
#[derive(Clone, Debug)]
pub struct LayoutInput {
    /// `[batch, seq, 6]`: left, top, right, bottom, width, height, each below `bins`.
    pub boxes: Tensor<3, Int>,
    /// `[batch, seq, 4]`: line from the top and from the bottom, word from the line's start and from its end.
    pub ordinals: Tensor<3, Int>,
    /// `[batch, seq, print_features]`
    pub print: Tensor<3>,
    /// Which words are real.
    pub mask: Mask,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct LayoutEncoder {
    /// Left and right edges.
    pub horizontal: Embedding,
    /// Top and bottom edges.
    pub vertical: Embedding,
    /// Width of the box.
    pub width: Embedding,
    /// Height of the box.
    pub height: Embedding,
    /// Line counted from the top.
    pub line_from_top: Embedding,
    /// Line counted from the bottom.
    pub line_from_bottom: Embedding,
    /// Word counted from the line's start.
    pub word_from_start: Embedding,
    /// Word counted from the line's end.
    pub word_from_end: Embedding,
    /// Features of the print.
    pub print: Linear,
    /// Norm of the sum.
    pub norm: LayerNorm,
    dim: usize,
}

impl LayoutConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("layout", "bins", self.bins, 1, 65_536)?;
        check_size("layout", "lines", self.lines, 1, 65_536)?;
        check_size("layout", "words", self.words, 1, 65_536)?;
        check_size("layout", "print_features", self.print_features, 1, 4_096)?;
        check_size("layout", "dim", self.dim, 1, 16_384)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> LayoutEncoder {
        let table = |entries| Embedding::new(entries, self.dim, device);
        LayoutEncoder {
            horizontal: table(self.bins),
            vertical: table(self.bins),
            width: table(self.bins),
            height: table(self.bins),
            line_from_top: table(self.lines),
            line_from_bottom: table(self.lines),
            word_from_start: table(self.words),
            word_from_end: table(self.words),
            print: Linear::new(self.print_features, self.dim, device),
            norm: LayerNorm::new(self.dim, 1e-5, device),
            dim: self.dim,
        }
    }
}

impl LayoutEncoder {
    /// # Shapes
    ///
    /// - boxes: `[batch, seq, 6]`, ordinals: `[batch, seq, 4]`, print: `[batch, seq, print_features]`
    /// - output tokens: `[batch, seq, dim]`
    pub fn forward(&self, input: LayoutInput) -> Tokens {
        let column = |tensor: &Tensor<3, Int>, index| tensor.clone().narrow(2, index, 1).squeeze_dim::<2>(2);
        let boxes = [&self.horizontal, &self.vertical, &self.horizontal, &self.vertical, &self.width, &self.height];
        let ordinals = [&self.line_from_top, &self.line_from_bottom, &self.word_from_start, &self.word_from_end];
        let mut sum = self.print.forward(input.print);
        for (index, table) in boxes.into_iter().enumerate() {
            sum = sum + table.forward(column(&input.boxes, index));
        }
        for (index, table) in ordinals.into_iter().enumerate() {
            sum = sum + table.forward(column(&input.ordinals, index));
        }
        Tokens::new(self.norm.forward(sum), input.mask)
    }
}

impl Encoder for LayoutEncoder {
    type Input = LayoutInput;

    fn modality(&self) -> Modality {
        Modality::Layout
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: LayoutInput) -> Encoded {
        let tokens = self.forward(input);
        Encoded { modality: Modality::Layout, pooled: tokens.mean(), tokens }
    }
}
