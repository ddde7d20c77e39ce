//! The image encoder: a vision transformer, with what later members of its family added.
//!
//! Paper: Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>
//! Difference: the class token is optional, because a document's words pool the patches themselves.
//! Paper: Touvron et al. 2020 (DeiT, distillation token), <https://arxiv.org/abs/2012.12877>
//! Difference: none.
//! Paper: Oquab et al. 2023 (DINOv2, mask token, layer scale and gated perceptrons), <https://arxiv.org/abs/2304.07193>
//! Difference: none.
//! Paper: Darcet et al. 2023 (registers), <https://arxiv.org/abs/2309.16588>
//! Difference: none.
//! Paper: Bao et al. 2021 (BEiT, biases by distance instead of positions), <https://arxiv.org/abs/2106.08254>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Activation, AttentionBiases, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder, Tokens,
    TransformerBlock, TransformerBlockConfig, normal,
};
use serde::{Deserialize, Serialize};

use crate::positions::{Resizing, resized_positions};
use crate::window_bias::WindowBias;
use crate::{ConfigError, check_heads, check_size};

/// Sizes of the encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Height of the picture in pixels.
    pub height: usize,
    /// Width of the picture in pixels.
    pub width: usize,
    /// Side of a patch in pixels; divides both.
    pub patch: usize,
    /// Colour channels.
    pub channels: usize,
    /// Width of the vectors.
    pub dim: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Width inside the perceptrons.
    pub hidden: usize,
    /// Whether a class token stands before the patches.
    pub class_token: bool,
    /// Epsilon of the norms: 1e-12 in Hugging Face, 1e-6 in timm.
    pub epsilon: f64,
}

/// What later members of the family added or changed; by default nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct VitVariant {
    /// Whether a second token stands behind the class token, which learns from a teacher (DeiT).
    pub distillation_token: bool,
    /// Tokens behind those that mean nothing and have no position, for the blocks to write on (DINOv2 with registers).
    pub registers: usize,
    /// Whether there is a vector to put in the place of a patch that is hidden (DINOv2, BEiT).
    pub mask_token: bool,
    /// What is known of where a token stands.
    pub positions: VitPositions,
    /// How positions become those of another grid.
    pub resizing: Resizing,
    /// Whether a learned bias of the scores by distance is shared by all blocks (BEiT).
    pub shared_bias: bool,
    /// Whether each block has such a bias of its own (BEiT).
    pub block_biases: bool,
    /// Activation inside the perceptrons.
    pub activation: Activation,
    /// Whether the perceptrons are gated (DINOv2's largest).
    pub gated: bool,
    /// What each branch of a block is multiplied by at the start.
    pub layer_scale: Option<f64>,
    /// Which projections of the attention have biases.
    pub biases: AttentionBiases,
    /// Whether a norm stands at the end.
    pub final_norm: bool,
}

/// Vectors that are added to the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VitPositions {
    /// Learned.
    Learned,
    /// From a file and kept as they are: MAE's sines and cosines.
    Fixed,
    /// None: biases alone tell (BEiT).
    Absent,
}

/// A batch of pictures cut into patches.
#[derive(Clone, Debug)]
pub struct VitInput {
    /// `[batch, patches, channels * patch * patch]`, as [`patches`] gives them.
    pub patches: Tensor<3>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct VitEncoder {
    /// Patch to vector; the strided convolution of the paper as a matrix.
    pub patch_embedding: Linear,
    /// `[1, 1, dim]`
    pub class_token: Option<Param<Tensor<3>>>,
    /// `[1, 1, dim]`
    pub distillation_token: Option<Param<Tensor<3>>>,
    /// `[1, registers, dim]`
    pub registers: Option<Param<Tensor<3>>>,
    /// `[1, 1, dim]`
    pub mask_token: Option<Param<Tensor<3>>>,
    /// `[1, class and distillation token + patches, dim]`
    pub position_embeddings: Option<Param<Tensor<3>>>,
    /// Bias of every block's scores.
    pub shared_bias: Option<WindowBias>,
    /// Biases of the blocks' scores, block by block.
    pub block_biases: Option<Vec<WindowBias>>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: Option<LayerNorm>,
    dim: usize,
    fixed_positions: bool,
    #[module(skip)]
    resizing: Resizing,
    #[module(skip)]
    grid: [usize; 2],
}

impl Default for VitVariant {
    fn default() -> Self {
        Self {
            distillation_token: false,
            registers: 0,
            mask_token: false,
            positions: VitPositions::Learned,
            resizing: Resizing::Bicubic,
            shared_bias: false,
            block_biases: false,
            activation: Activation::Gelu,
            gated: false,
            layer_scale: None,
            biases: AttentionBiases::ALL,
            final_norm: true,
        }
    }
}

impl VitConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("vit", "patch", self.patch, 1, 1_024)?;
        check_size("vit", "height", self.height, 1, 8_192)?;
        check_size("vit", "width", self.width, 1, 8_192)?;
        check_size("vit", "channels", self.channels, 1, 16)?;
        check_size("vit", "dim", self.dim, 1, 16_384)?;
        check_size("vit", "layers", self.layers, 0, 256)?;
        check_size("vit", "hidden", self.hidden, 1, 131_072)?;
        if !self.height.is_multiple_of(self.patch) || !self.width.is_multiple_of(self.patch) {
            return Err(ConfigError::Patch { patch: self.patch, height: self.height, width: self.width });
        }
        check_heads("vit", self.heads, self.dim)
    }

    /// Rows and columns of patches in a picture.
    pub fn grid(&self) -> [usize; 2] {
        [self.height / self.patch, self.width / self.patch]
    }

    /// Patches in a picture.
    pub fn patches(&self) -> usize {
        self.grid().iter().product()
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> VitEncoder {
        self.init_as(&VitVariant::default(), device)
    }

    /// New weights of another member of the family.
    pub fn init_as(&self, variant: &VitVariant, device: &Device) -> VitEncoder {
        let block = self.block(variant);
        let before = usize::from(self.class_token) + usize::from(variant.distillation_token);
        let tokens = |count: usize| normal([1, count, self.dim], 0.02, device);
        let has_positions = variant.positions != VitPositions::Absent;
        let bias = || WindowBias::new(self.grid(), self.heads, device);
        VitEncoder {
            patch_embedding: Linear::new(self.channels * self.patch * self.patch, self.dim, device),
            class_token: self.class_token.then(|| tokens(1)),
            distillation_token: variant.distillation_token.then(|| tokens(1)),
            registers: (variant.registers > 0).then(|| tokens(variant.registers)),
            mask_token: variant.mask_token.then(|| tokens(1)),
            position_embeddings: has_positions.then(|| tokens(before + self.patches())),
            shared_bias: variant.shared_bias.then(bias),
            block_biases: variant.block_biases.then(|| (0..self.layers).map(|_| bias()).collect()),
            layers: (0..self.layers).map(|_| block.init(device)).collect(),
            norm: variant.final_norm.then(|| LayerNorm::new(self.dim, self.epsilon, device)),
            dim: self.dim,
            fixed_positions: variant.positions == VitPositions::Fixed,
            resizing: variant.resizing,
            grid: self.grid(),
        }
    }

    /// The kind of the blocks.
    pub(crate) fn block(&self, variant: &VitVariant) -> TransformerBlockConfig {
        let usual = TransformerBlockConfig::new(self.dim, self.heads, self.hidden, self.epsilon, NormOrder::Pre);
        let &VitVariant { activation, gated, layer_scale, biases, .. } = variant;
        TransformerBlockConfig { activation, gated, layer_scale, biases, ..usual }
    }
}

impl VitEncoder {
    /// # Shapes
    ///
    /// - patches: `[batch, patches, channels * patch * patch]`
    /// - output tokens: `[batch, tokens before the patches + patches, dim]`
    pub fn forward(&self, input: VitInput) -> Tokens {
        let mut states = self.hidden_states(input.patches, self.grid);
        let x = self.normed(states.pop().expect("there is always a state"));
        let [batch, seq, _] = x.dims();
        let mask = Mask::all_kept(batch, seq, &x.device());
        Tokens::new(x, mask)
    }

    /// What the blocks read and give, lowest first, before the final norm. Positions are interpolated for another grid than the
    /// configuration's.
    ///
    /// # Shapes
    ///
    /// - patches: `[batch, patches, channels * patch * patch]`
    /// - grid: rows and columns of patches
    /// - outputs: `[batch, tokens before the patches + patches, dim]`
    pub fn hidden_states(&self, patches: Tensor<3>, grid: [usize; 2]) -> Vec<Tensor<3>> {
        self.block_states(self.embedded(patches, grid, None), grid)
    }

    /// What the lowest block reads. A patch that is marked is not seen: the mask token stands in its place, where there is one.
    ///
    /// # Shapes
    ///
    /// - patches: `[batch, patches, channels * patch * patch]`
    /// - grid: rows and columns of patches
    /// - masked: `[batch, patches]`, true where not seen
    /// - output: `[batch, tokens before the patches + patches, dim]`
    pub fn embedded(&self, patches: Tensor<3>, grid: [usize; 2], masked: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let [batch, count, _] = patches.dims();
        let mut x = self.patch_embedding.forward(patches);
        if let (Some(token), Some(masked)) = (&self.mask_token, masked) {
            let shape = [batch, count, self.dim];
            x = x.mask_where(masked.unsqueeze_dim::<3>(2).expand(shape), token.val().expand(shape));
        }
        let before = [&self.class_token, &self.distillation_token].into_iter().flatten();
        let mut tokens: Vec<Tensor<3>> = before.map(|token| token.val().repeat_dim(0, batch)).collect();
        tokens.push(x);
        let x = Tensor::cat(tokens, 1);
        let x = match &self.position_embeddings {
            Some(table) => {
                let table = if self.fixed_positions { table.val().detach() } else { table.val() };
                x + resized_positions(table, self.grid, grid, self.resizing)
            }
            None => x,
        };
        let Some(registers) = &self.registers else { return x };
        let [_, seq, _] = x.dims();
        let place = seq - count;
        let registers = registers.val().repeat_dim(0, batch);
        Tensor::cat(vec![x.clone().narrow(1, 0, place), registers, x.narrow(1, place, count)], 1)
    }

    /// What the blocks read and give, lowest first, before the final norm.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, dim]`; all of a grid's tokens where the blocks have biases by distance
    /// - grid: rows and columns of patches
    /// - outputs: `[batch, tokens, dim]`
    pub fn block_states(&self, x: Tensor<3>, grid: [usize; 2]) -> Vec<Tensor<3>> {
        let shared = self.shared_bias.as_ref().map(|bias| bias.forward(grid));
        let mut states = vec![x];
        for (index, layer) in self.layers.iter().enumerate() {
            let own = self.block_biases.as_ref().map(|biases| biases[index].forward(grid));
            let bias = match (shared.clone(), own) {
                (Some(shared), Some(own)) => Some(shared + own),
                (shared, own) => shared.or(own),
            };
            let next = layer.forward(states[index].clone(), None, bias);
            states.push(next);
        }
        states
    }

    /// What the last block gives, normed where a norm stands at the end.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, tokens, dim]`
    pub fn normed(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

impl Encoder for VitEncoder {
    type Input = VitInput;

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: VitInput) -> Encoded {
        let tokens = self.forward(input);
        let pooled = match &self.class_token {
            Some(_) => tokens.padded().narrow(1, 0, 1).squeeze_dim(1),
            None => tokens.mean(),
        };
        Encoded { modality: Modality::Image, pooled, tokens }
    }
}

/// Cuts pictures into patches, row by row; within a patch the order is channel, row, column, as in the convolution's weight.
///
/// # Shapes
///
/// - pictures: `[batch, channels, height, width]`
/// - output: `[batch, patches, channels * patch * patch]`
///
/// # Panics
///
/// If `patch` does not divide height and width.
pub fn patches(pictures: Tensor<4>, patch: usize) -> Tensor<3> {
    let [batch, channels, height, width] = pictures.dims();
    assert!(height % patch == 0 && width % patch == 0, "patch ({patch}) must divide {height} x {width}");
    let (rows, columns) = (height / patch, width / patch);
    pictures
        .reshape([batch, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 1, 3, 5]) // [batch, rows, columns, channels, patch, patch]
        .reshape([batch, rows * columns, channels * patch * patch])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_go_row_by_row_and_channel_by_channel_inside() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let pixels: Vec<f32> = (0..48).map(|pixel| pixel as f32).collect();
        let picture = Tensor::<4>::from_data(TensorData::new(pixels, [1, 2, 4, 6]), &device);
        let found = patches(picture, 2);
        assert_eq!(found.dims(), [1, 6, 8]);
        let patch = |number: usize| found.clone().narrow(1, number, 1).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(patch(1), [2.0, 3.0, 8.0, 9.0, 26.0, 27.0, 32.0, 33.0]);
        assert_eq!(patch(3), [12.0, 13.0, 18.0, 19.0, 36.0, 37.0, 42.0, 43.0]);
    }

    #[test]
    fn what_is_pooled_is_the_class_token_or_else_the_mean_of_the_patches() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 2);
        for class_token in [true, false] {
            let (height, width, patch, channels, dim, layers, heads, hidden) = (4, 6, 2, 1, 8, 1, 2, 16);
            let config =
                VitConfig { height, width, patch, channels, dim, layers, heads, hidden, class_token, epsilon: 1e-12 };
            let encoder = config.init(&device);
            let input = || VitInput { patches: Tensor::ones([2, 6, 4], &device) };
            let tokens = encoder.forward(input()).padded();
            assert_eq!(tokens.dims(), [2, 6 + usize::from(class_token), 8]);
            let expected = if class_token { tokens.narrow(1, 0, 1) } else { tokens.mean_dim(1) };
            let pooled = encoder.encode(input()).pooled.unsqueeze_dim::<3>(1);
            assert!((pooled - expected).abs().max().into_scalar::<f32>() < 1e-6);
        }
    }
}
