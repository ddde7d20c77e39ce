//! The image tower of dual encoders: a vision transformer with CLIP's class token and first norm, or without both (SigLIP).
//!
//! Paper: Radford et al. 2021 (CLIP), <https://arxiv.org/abs/2103.00020>
//! Difference: none; the projection into the shared space belongs to `florin-models`.
//! Paper: Zhai et al. 2023 (SigLIP), <https://arxiv.org/abs/2303.15343>
//! Difference: none.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Encoded, Encoder, LayerNorm, Linear, Mask, Modality, NormOrder, Tokens, TransformerBlock, TransformerBlockConfig,
    normal,
};
use serde::{Deserialize, Serialize};

use crate::antialiased_grid::antialiased_grid;
use crate::{ConfigError, activation, check_heads, check_size, patches};

/// Sizes of the tower, in the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageTowerConfig {
    /// Side of the picture in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; pixels beyond the last whole patch are not seen.
    pub patch_size: usize,
    /// Colour channels.
    pub num_channels: usize,
    /// Width.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Activation inside the perceptrons, in [`activation`]'s names.
    pub hidden_act: String,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
    /// Whether a class token stands before the patches, whose embedding then has no bias, and a norm before the blocks; the
    /// family's to say, not a file's.
    #[serde(skip)]
    pub class_token: bool,
}

/// The tower.
#[derive(Module, Debug)]
pub struct ImageTower {
    /// Patch to vector; the strided convolution of the paper as a matrix.
    pub patch_embedding: Linear,
    /// `[dim]`
    pub class_token: Option<Param<Tensor<1>>>,
    /// `[class token + patches, dim]`
    pub position_embeddings: Param<Tensor<2>>,
    /// Norm of the embeddings.
    pub embedding_norm: Option<LayerNorm>,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    dim: usize,
    side: usize,
    patch: usize,
    channels: usize,
}

impl ImageTowerConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("image tower", "image_size", self.image_size, 1, 8_192)?;
        check_size("image tower", "patch_size", self.patch_size, 1, self.image_size)?;
        check_size("image tower", "num_channels", self.num_channels, 1, 16)?;
        check_size("image tower", "hidden_size", self.hidden_size, 1, 16_384)?;
        check_size("image tower", "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_size("image tower", "intermediate_size", self.intermediate_size, 1, 131_072)?;
        check_heads("image tower", self.num_attention_heads, self.hidden_size)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<ImageTower, ConfigError> {
        self.validate()?;
        let usual = TransformerBlockConfig::new(
            self.hidden_size,
            self.num_attention_heads,
            self.intermediate_size,
            self.layer_norm_eps,
            NormOrder::Pre,
        );
        let block = TransformerBlockConfig { activation: activation("image tower", &self.hidden_act)?, ..usual };
        let (pixels, count) =
            (self.num_channels * self.patch_size * self.patch_size, (self.image_size / self.patch_size).pow(2));
        let norm = || LayerNorm::new(self.hidden_size, self.layer_norm_eps, device);
        Ok(ImageTower {
            patch_embedding: match self.class_token {
                true => Linear::without_bias(pixels, self.hidden_size, device),
                false => Linear::new(pixels, self.hidden_size, device),
            },
            class_token: self.class_token.then(|| normal([self.hidden_size], 0.02, device)),
            position_embeddings: normal([count + usize::from(self.class_token), self.hidden_size], 0.02, device),
            embedding_norm: self.class_token.then(norm),
            layers: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            norm: norm(),
            dim: self.hidden_size,
            side: self.image_size,
            patch: self.patch_size,
            channels: self.num_channels,
        })
    }
}

impl ImageTower {
    /// Channels, height and width of the pictures that it takes.
    pub fn picture(&self) -> [usize; 3] {
        [self.channels, self.side, self.side]
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// The hidden state before the first block and after every block, before the final norm.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, channels, side, side]`
    /// - each output: `[batch, class token + patches, dim]`
    ///
    /// # Panics
    ///
    /// If the pictures have other sizes.
    pub fn hidden_states(&self, pixels: Tensor<4>) -> Vec<Tensor<3>> {
        let [batch, ..] = pixels.dims();
        let whole = self.side / self.patch * self.patch;
        let seen = pixels.narrow(2, 0, whole).narrow(3, 0, whole);
        let mut x = self.patch_embedding.forward(patches(seen, self.patch));
        if let Some(class_token) = &self.class_token {
            let token = class_token.val().unsqueeze_dims::<3>(&[0, 1]);
            x = Tensor::cat(vec![token.repeat_dim(0, batch), x], 1);
        }
        x = x + self.position_embeddings.val().unsqueeze_dim(0);
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(x);
        }
        self.through(x, None)
    }

    /// The same of patches of pictures that keep their own proportions (SigLIP 2): the square table of positions is stretched over
    /// the grid of each; padding gets the position of the picture's first patch, as in transformers.
    ///
    /// # Shapes
    ///
    /// - patches: `[batch, patches, patch · patch · channels]`, row by row, then padding
    /// - grids: rows and columns of each picture's patches
    /// - mask: `[batch, patches]`
    /// - each output: `[batch, patches, dim]`
    ///
    /// # Panics
    ///
    /// If a grid has more patches than there are.
    pub fn hidden_states_of_patches(&self, patches: Tensor<3>, grids: &[[usize; 2]], mask: &Mask) -> Vec<Tensor<3>> {
        let [_, count, _] = patches.dims();
        let positions = grids.iter().map(|&[rows, columns]| {
            let own = antialiased_grid(self.position_embeddings.val(), [rows, columns]);
            match count - rows * columns {
                0 => own,
                padding => Tensor::cat(vec![own.clone(), own.narrow(0, 0, 1).repeat_dim(0, padding)], 0),
            }
        });
        let positions = Tensor::stack(positions.collect::<Vec<_>>(), 0);
        self.through(self.patch_embedding.forward(patches) + positions, mask.for_attention())
    }

    fn through(&self, x: Tensor<3>, hidden: Option<Tensor<4, Bool>>) -> Vec<Tensor<3>> {
        let mut states = vec![x];
        for layer in &self.layers {
            let next = layer.forward(states[states.len() - 1].clone(), hidden.clone(), None);
            states.push(next);
        }
        states
    }
}

impl Encoder for ImageTower {
    type Input = Tensor<4>;

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, pixels: Tensor<4>) -> Encoded {
        let mut states = self.hidden_states(pixels);
        let last = self.norm.forward(states.pop().expect("the embeddings are a state"));
        let [batch, seq, _] = last.dims();
        let mask = Mask::all_kept(batch, seq, &last.device());
        let tokens = Tokens::new(last.clone(), mask);
        let pooled = match &self.class_token {
            Some(_) => last.narrow(1, 0, 1).squeeze_dim(1),
            None => tokens.mean(),
        };
        Encoded { modality: Modality::Image, pooled, tokens }
    }
}
