//! A stage of the Swin transformer: blocks whose attention stays within windows of a grid, every other one's shifted by half a window,
//! and at its end a grid of half the sides.
//!
//! Paper: Liu et al. 2021 (Swin), <https://arxiv.org/abs/2103.14030>
//! Difference: none; stochastic depth is left out.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{Activation, Attention, AttentionBiases, AttentionConfig, LayerNorm, Linear, Mlp, zeros};

use crate::windows::Windows;

/// Epsilon of the norm before vectors are merged, PyTorch's own.
const MERGING_EPSILON: f64 = 1e-5;

/// Sizes of a stage.
#[derive(Clone, Debug)]
pub(crate) struct SwinStageConfig {
    /// Width of the vectors.
    pub(crate) dim: usize,
    /// Rows and columns of vectors.
    pub(crate) grid: [usize; 2],
    /// Blocks.
    pub(crate) depth: usize,
    /// Attention heads; divides `dim`.
    pub(crate) heads: usize,
    /// Side of a window; at most the shorter side of the grid.
    pub(crate) window: usize,
    /// Width inside the perceptrons.
    pub(crate) hidden: usize,
    /// Activation inside the perceptrons.
    pub(crate) activation: Activation,
    /// Which projections of the attention have biases.
    pub(crate) biases: AttentionBiases,
    /// Epsilon of the blocks' norms.
    pub(crate) epsilon: f64,
    /// Whether four neighbours become one vector of twice the width at the end.
    pub(crate) merges: bool,
}

/// A stage.
#[derive(Module, Debug)]
pub struct SwinStage {
    /// The blocks, lowest first.
    pub blocks: Vec<SwinBlock>,
    /// What halves the grid, in every stage but the last.
    pub merging: Option<PatchMerging>,
}

/// Attention within windows and a perceptron, each with a norm before it and a residual.
#[derive(Module, Debug)]
pub struct SwinBlock {
    /// Norm of the attention branch.
    pub attention_norm: LayerNorm,
    /// Attention of a window's vectors to each other.
    pub attention: Attention,
    /// Biases of the heads by how far apart two vectors of a window stand, `[(2 · window − 1)², heads]`.
    pub position_biases: Param<Tensor<2>>,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
    #[module(skip)]
    windows: Windows,
}

/// Four neighbours, normed side by side, as one vector of twice the width.
#[derive(Module, Debug)]
pub struct PatchMerging {
    /// Norm of the four, `[4 · dim]`.
    pub norm: LayerNorm,
    /// `[4 · dim, 2 · dim]`
    pub reduction: Linear,
    #[module(skip)]
    grid: [usize; 2],
}

impl SwinStageConfig {
    /// New weights.
    pub(crate) fn init(&self, device: &Device) -> SwinStage {
        let Self { dim, grid, window, heads, epsilon, .. } = *self;
        // A grid that is one window wide has nowhere to go.
        let half = if grid[0].min(grid[1]) > window { window / 2 } else { 0 };
        let block = |place: usize| SwinBlock {
            attention_norm: LayerNorm::new(dim, epsilon, device),
            attention: AttentionConfig::new(dim, heads).with_biases(self.biases).init(device),
            position_biases: zeros([(2 * window - 1).pow(2), heads], device),
            mlp_norm: LayerNorm::new(dim, epsilon, device),
            mlp: Mlp::new(dim, self.hidden, self.activation, device),
            windows: Windows { grid, side: window, shift: if place.is_multiple_of(2) { 0 } else { half } },
        };
        let merging = || PatchMerging {
            norm: LayerNorm::new(4 * dim, MERGING_EPSILON, device),
            reduction: Linear::without_bias(4 * dim, 2 * dim, device),
            grid,
        };
        SwinStage { blocks: (0..self.depth).map(block).collect(), merging: self.merges.then(merging) }
    }
}

impl SwinStage {
    /// # Shapes
    ///
    /// - x: `[batch, rows · columns, dim]`
    /// - output: the same, or where the grid is halved `[batch, rows / 2 · columns / 2, 2 · dim]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        match &self.merging {
            Some(merging) => merging.forward(x),
            None => x,
        }
    }
}

impl SwinBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, rows · columns, dim]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let ([batch, _, _], device) = (x.dims(), x.device());
        // Cut behind the norm, so that what lies beyond the grid is zero and not the norm's shift.
        let windows = self.windows.cut(self.attention_norm.forward(x.clone()));
        let hidden = self.windows.hidden(batch, &device);
        let mixed = self.attention.forward(windows.clone(), windows, hidden, Some(self.bias(&device)));
        let x = x + self.windows.joined(mixed);
        let normed = self.mlp_norm.forward(x.clone());
        x + self.mlp.forward(normed)
    }

    /// # Shapes
    ///
    /// - output: `[1, heads, places, places]`
    fn bias(&self, device: &Device) -> Tensor<4> {
        let bias = florin_backend::embedding(self.position_biases.val(), self.windows.distances(device));
        let (places, [_, _, heads]) = (self.windows.places(), bias.dims());
        bias.reshape([1, places, places, heads]).permute([0, 3, 1, 2])
    }
}

impl PatchMerging {
    /// # Shapes
    ///
    /// - x: `[batch, rows · columns, dim]`
    /// - output: `[batch, rows / 2 · columns / 2, 2 · dim]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let ([batch, _, dim], [rows, columns]) = (x.dims(), self.grid.map(|size| size / 2));
        let four = x
            .reshape([batch, rows, 2, columns, 2, dim])
            // Side by side go the upper left, the lower left, the upper right, the lower right.
            .permute([0, 1, 3, 4, 2, 5]) // [batch, rows, columns, right, down, dim]
            .reshape([batch, rows * columns, 4 * dim]);
        self.reduction.forward(self.norm.forward(four))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(merges: bool) -> SwinStageConfig {
        SwinStageConfig {
            dim: 4,
            grid: [6, 4],
            depth: 2,
            heads: 2,
            window: 3,
            hidden: 6,
            activation: Activation::Gelu,
            biases: AttentionBiases::ALL,
            epsilon: 1e-5,
            merges,
        }
    }

    #[test]
    fn a_stage_halves_the_grid_and_doubles_the_width() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let x = || Tensor::<3>::ones([2, 24, 4], &device);
        assert_eq!(stage(true).init(&device).forward(x()).dims(), [2, 6, 8]);
        assert_eq!(stage(false).init(&device).forward(x()).dims(), [2, 24, 4]);
    }

    #[test]
    fn every_other_block_is_shifted_unless_the_grid_is_one_window_wide() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let shifts = |config: SwinStageConfig| {
            config.init(&device).blocks.iter().map(|block| block.windows.shift).collect::<Vec<_>>()
        };
        assert_eq!(shifts(SwinStageConfig { depth: 3, ..stage(false) }), [0, 1, 0]);
        assert_eq!(shifts(SwinStageConfig { window: 4, ..stage(false) }), [0, 0]);
    }
}
