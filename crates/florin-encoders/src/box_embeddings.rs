//! Where words stand on a page: a learned vector for each side, the height and the width, which LayoutLM adds to a word's embedding and
//! LiLT puts side by side.
//!
//! Paper: Xu et al. 2019 (LayoutLM), <https://arxiv.org/abs/1912.13318>
//! Difference: none.

use burn::prelude::*;
use florin_nn::Embedding;

use crate::{ConfigError, check_size};

/// The tables.
#[derive(Module, Debug)]
pub struct BoxEmbeddings {
    /// Of left and right sides, `[positions, dim]`.
    pub x: Embedding,
    /// Of top and bottom sides.
    pub y: Embedding,
    /// Of heights.
    pub height: Embedding,
    /// Of widths.
    pub width: Embedding,
    positions: usize,
}

impl BoxEmbeddings {
    /// New tables. LayoutLM's pages are 1,000 high and wide, whatever their size.
    pub fn new(positions: usize, dim: usize, device: &Device) -> Result<Self, ConfigError> {
        check_size("boxes", "max_2d_position_embeddings", positions, 1, 1_000_000)?;
        let table = || Embedding::new(positions, dim, device);
        Ok(Self { x: table(), y: table(), height: table(), width: table(), positions })
    }

    /// How many places a side may have.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// # Shapes
    ///
    /// - boxes: left, top, right, bottom of each word, `[batch, seq, 4]`, each below the number of positions
    /// - output: `[batch, seq, dim]`
    pub fn forward(&self, boxes: Tensor<3, Int>) -> Tensor<3> {
        let [left, top, right, bottom, height, width] = self.parts(boxes);
        left + top + right + bottom + height + width
    }

    /// The vectors of left, top, right, bottom, height and width.
    ///
    /// # Shapes
    ///
    /// - boxes: as for [`forward`](Self::forward)
    /// - each output: `[batch, seq, dim]`
    pub fn parts(&self, boxes: Tensor<3, Int>) -> [Tensor<3>; 6] {
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| boxes.clone().narrow(2, side, 1).squeeze_dim::<2>(2));
        let (width, height) = (right.clone() - left.clone(), bottom.clone() - top.clone());
        [
            self.x.forward(left),
            self.y.forward(top),
            self.x.forward(right),
            self.y.forward(bottom),
            self.height.forward(height),
            self.width.forward(width),
        ]
    }
}
