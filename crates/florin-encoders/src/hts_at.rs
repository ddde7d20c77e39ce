//! HTS-AT, CLAP's encoder of sounds: a log-mel folded into a square picture, and a Swin transformer over its patches.
//!
//! The frames are cut into as many strips as fit below one another, lowest band first, so that time goes to the right and then down.
//!
//! Paper: Chen et al. 2022 (HTS-AT), <https://arxiv.org/abs/2202.00874>
//! Difference: no classifier of frames; stochastic depth and dropout are left out.
//! Paper: Wu et al. 2022 (CLAP, fusion of a long sound's parts), <https://arxiv.org/abs/2211.06687>
//! Difference: only the fusion of published checkpoints, by attention in two dimensions; the statistics of its norms are the file's.

use burn::prelude::*;
use florin_nn::{AttentionBiases, BatchNorm, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, Tokens};
use serde::{Deserialize, Serialize};

use crate::attentional_fusion::{PartFusion, thrice_as_wide};
use crate::overlapping_patches::Cut;
use crate::positions::cubic_between_corners;
use crate::swin::{SwinStage, SwinStageConfig};
use crate::video_mae::Sides;
use crate::{ConfigError, activation, check_heads, check_size, no_such};

const ENCODER: &str = "hts-at";
/// Epsilon of all norms but the blocks', PyTorch's own.
const EPSILON: f64 = 1e-5;
/// Pictures of a sound where its parts are fused: the whole, shrunk, and three parts.
const PICTURES: usize = 4;

/// Sizes of the encoder, under the names of transformers' `ClapAudioConfig` and with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HtsAtConfig {
    /// Side of a window in patches.
    pub window_size: usize,
    /// Mel bands of a frame.
    pub num_mel_bins: usize,
    /// Side of the square picture.
    pub spec_size: usize,
    /// Activation inside the perceptrons.
    pub hidden_act: String,
    /// Sides of a patch.
    pub patch_size: Sides,
    /// From one patch to the next, down and to the right; patches that are larger overlap.
    pub patch_stride: Sides,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Attention heads of each stage.
    pub num_attention_heads: Vec<usize>,
    /// Whether a long sound comes as four pictures.
    pub enable_fusion: bool,
    /// Another fusion; transformers knows one of a name whose weights it cannot use.
    pub fusion_type: Option<String>,
    /// Channels of a picture.
    pub patch_embed_input_channels: usize,
    /// Whether patches are a sequence.
    pub flatten_patch_embeds: bool,
    /// Width of the first stage's vectors; each further stage has twice the width.
    pub patch_embeds_hidden_size: usize,
    /// Whether the patches' vectors are normed.
    pub enable_patch_layer_norm: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Width inside the perceptrons, as a multiple of the stage's.
    pub mlp_ratio: f64,
    /// By how much the gates of the fusion are narrower than the vectors.
    pub aff_block_r: usize,
    /// Epsilon of the blocks' norms.
    pub layer_norm_eps: f64,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct HtsAtEncoder {
    /// Norm of each band, by stored statistics.
    pub batch_norm: BatchNorm,
    /// Patch to vector; the convolution of the paper as a matrix.
    pub patch_embedding: Linear,
    /// Norm of the patches' vectors.
    pub patch_norm: Option<LayerNorm>,
    /// What adds the parts of a long sound.
    pub fusion: Option<PartFusion>,
    /// The stages, finest first.
    pub stages: Vec<SwinStage>,
    /// The final norm.
    pub norm: LayerNorm,
    #[module(skip)]
    plan: Plan,
}

/// Log-mels, and which of them are longer than the picture.
#[derive(Clone, Debug)]
pub struct HtsAtInput {
    /// `[batch, pictures, frames, bands]`: one picture, or four where parts are fused.
    pub log_mel: Tensor<4>,
    /// For each row whether its last three pictures are parts of it; without a fusion nobody asks.
    pub longer: Vec<bool>,
}

/// What the encoder gives.
#[derive(Clone, Debug)]
pub struct HtsAtOutput {
    /// What the stages read and the last one gives, `[batch, dim of the stage, rows, columns]`.
    pub states: Vec<Tensor<4>>,
    /// The last of them, normed: `[batch, dim, rows of a strip, strips · columns]`.
    pub last: Tensor<4>,
    /// The mean of its vectors, `[batch, dim]`.
    pub pooled: Tensor<2>,
}

/// How a log-mel becomes patches and stages; all of it follows from the configuration.
#[derive(Clone, Debug)]
struct Plan {
    /// Side of the square.
    side: usize,
    /// Strips below one another.
    strips: usize,
    cut: Cut,
    /// Rows and columns of vectors in each stage.
    grids: Vec<[usize; 2]>,
    /// Width of the last stage.
    dim: usize,
}

impl Default for HtsAtConfig {
    fn default() -> Self {
        Self {
            window_size: 8,
            num_mel_bins: 64,
            spec_size: 256,
            hidden_act: "gelu".to_owned(),
            patch_size: Sides::Square(4),
            patch_stride: Sides::Square(4),
            depths: vec![2, 2, 6, 2],
            num_attention_heads: vec![4, 8, 16, 32],
            enable_fusion: false,
            fusion_type: None,
            patch_embed_input_channels: 1,
            flatten_patch_embeds: true,
            patch_embeds_hidden_size: 96,
            enable_patch_layer_norm: true,
            qkv_bias: true,
            mlp_ratio: 4.0,
            aff_block_r: 4,
            layer_norm_eps: 1e-5,
        }
    }
}

impl HtsAtConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let ([patch, across], [stride, stride_across]) = (self.patch_size.both(), self.patch_stride.both());
        for (name, size, most) in [
            ("window_size", self.window_size, 64),
            ("num_mel_bins", self.num_mel_bins, 4_096),
            ("spec_size", self.spec_size, 4_096),
            ("patch_size", patch.min(across), 256),
            ("patch_stride", stride.min(stride_across), 256),
            ("patch_size", patch.max(across), 256),
            ("patch_stride", stride.max(stride_across), 256),
            ("stages in depths", self.depths.len(), 8),
            ("patch_embeds_hidden_size", self.patch_embeds_hidden_size, 2_048),
        ] {
            check_size(ENCODER, name, size, 1, most)?;
        }
        if self.enable_fusion {
            check_size(ENCODER, "aff_block_r", self.aff_block_r, 1, self.patch_embeds_hidden_size)?;
        }
        activation(ENCODER, &self.hidden_act)?;
        if self.num_attention_heads.len() != self.depths.len() {
            let found = format!("{:?}", self.num_attention_heads);
            return Err(no_such(ENCODER, "num_attention_heads", "one number for every stage of depths", found));
        }
        for (stage, (&depth, &heads)) in self.depths.iter().zip(&self.num_attention_heads).enumerate() {
            let dim = self.dim(stage);
            check_size(ENCODER, "depths", depth, 0, 256)?;
            check_size(ENCODER, "width of a stage", dim, 1, 16_384)?;
            check_heads(ENCODER, heads, dim)?;
            check_size(ENCODER, "mlp_ratio times the width", self.hidden(dim), 1, 131_072)?;
        }
        if let Some(kind) = &self.fusion_type {
            return Err(no_such(ENCODER, "fusion_type", "absent", kind));
        }
        if self.patch_embed_input_channels != 1 || !self.flatten_patch_embeds {
            let found = format!("{} and {}", self.patch_embed_input_channels, self.flatten_patch_embeds);
            let name = "patch_embed_input_channels and flatten_patch_embeds";
            return Err(no_such(ENCODER, name, "1 and true", found));
        }
        self.validate_picture()
    }

    /// Refuses a picture that is not filled by strips, patches, windows and strips of vectors again.
    fn validate_picture(&self) -> Result<(), ConfigError> {
        let refused = |name, expected, found: String| Err(no_such(ENCODER, name, expected, found));
        let (side, bands) = (self.spec_size, self.num_mel_bins);
        if bands > side || !side.is_multiple_of(side / bands) {
            let found = format!("{side} with {bands} bands");
            return refused("spec_size", "a multiple of how often num_mel_bins fits into it", found);
        }
        let ([patch, across], [stride, stride_across]) = (self.patch_size.both(), self.patch_stride.both());
        if stride > patch || stride_across > across {
            return refused("patch_stride", "at most patch_size", format!("{stride} and {stride_across}"));
        }
        let (Plan { cut, grids, strips, .. }, last) = (self.plan(), self.depths.len() - 1);
        let (sides, cut_into) = ([side / stride, side / stride_across], cut.grid([side; 2]));
        if cut_into != sides {
            return refused(
                "patch_size",
                "patch_stride and an even number",
                format!("{cut_into:?} patches, not {sides:?}"),
            );
        }
        if self.enable_fusion && thrice_as_wide(cut).grid([side; 2])[1] == 0 {
            return refused("spec_size", "three patches wide where parts are fused", side.to_string());
        }
        if sides.iter().any(|size| !size.is_multiple_of(1 << last)) {
            return refused("spec_size", "halved after every stage but the last", format!("{sides:?} patches"));
        }
        let [rows, columns] = grids[last];
        if rows.min(columns) < self.window_size {
            return refused(
                "window_size",
                "at most the sides of the last stage",
                format!("{} of {rows} x {columns}", self.window_size),
            );
        }
        let rows_of_strip = rows / strips;
        if rows_of_strip == 0 || !rows.is_multiple_of(rows_of_strip) {
            return refused(
                "spec_size",
                "strips of whole rows in the last stage",
                format!("{strips} strips in {rows} rows"),
            );
        }
        Ok(())
    }

    /// Pictures of a sound.
    pub fn pictures(&self) -> usize {
        if self.enable_fusion { PICTURES } else { 1 }
    }

    /// The most frames of a sound; fewer are stretched.
    pub fn most_frames(&self) -> usize {
        self.spec_size * self.strips()
    }

    /// Width of the vector of a sound.
    pub fn width(&self) -> usize {
        self.dim(self.depths.len().saturating_sub(1))
    }

    fn strips(&self) -> usize {
        self.spec_size / self.num_mel_bins
    }

    fn dim(&self, stage: usize) -> usize {
        self.patch_embeds_hidden_size << stage
    }

    fn hidden(&self, dim: usize) -> usize {
        (self.mlp_ratio * dim as f64) as usize
    }

    fn plan(&self) -> Plan {
        let (size, strides, side) = (self.patch_size.both(), self.patch_stride.both(), self.spec_size);
        let padding = [0, 1].map(|side| (size[side] - strides[side]) / 2);
        let grids = (0..self.depths.len()).map(|stage| strides.map(|stride| (side / stride) >> stage)).collect();
        Plan { side, strips: self.strips(), cut: Cut { size, strides, padding }, grids, dim: self.width() }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<HtsAtEncoder, ConfigError> {
        self.validate()?;
        let (plan, dim, last) = (self.plan(), self.patch_embeds_hidden_size, self.depths.len() - 1);
        let activation = activation(ENCODER, &self.hidden_act)?;
        let stage = |stage: usize| SwinStageConfig {
            dim: self.dim(stage),
            grid: plan.grids[stage],
            depth: self.depths[stage],
            heads: self.num_attention_heads[stage],
            window: self.window_size,
            hidden: self.hidden(self.dim(stage)),
            activation,
            biases: if self.qkv_bias { AttentionBiases::ALL } else { AttentionBiases::OUTPUT },
            epsilon: self.layer_norm_eps,
            merges: stage < last,
        };
        Ok(HtsAtEncoder {
            batch_norm: BatchNorm::new(self.num_mel_bins, EPSILON, device),
            patch_embedding: Linear::new(plan.cut.size.iter().product(), dim, device),
            patch_norm: self.enable_patch_layer_norm.then(|| LayerNorm::new(dim, EPSILON, device)),
            fusion: self.enable_fusion.then(|| PartFusion::new(plan.cut, dim, dim / self.aff_block_r, device)),
            stages: (0..=last).map(|place| stage(place).init(device)).collect(),
            norm: LayerNorm::new(self.width(), EPSILON, device),
            plan,
        })
    }
}

impl HtsAtEncoder {
    /// # Shapes
    ///
    /// - log_mel: `[batch, pictures, frames, bands]`, at most as many frames as all strips together
    ///
    /// # Panics
    ///
    /// If there are more frames, or where parts are fused not a mark for every row.
    pub fn forward(&self, input: HtsAtInput) -> HtsAtOutput {
        let mut x = self.embed(self.folded(self.batch_norm.forward(input.log_mel)), &input.longer);
        let mut states = Vec::with_capacity(self.stages.len() + 1);
        for (stage, grid) in self.stages.iter().zip(&self.plan.grids) {
            states.push(as_map(x.clone(), *grid));
            x = stage.forward(x);
        }
        let grid = self.plan.grids[self.stages.len() - 1];
        states.push(as_map(x.clone(), grid));
        let normed = self.norm.forward(x);
        let pooled = normed.clone().mean_dim(1).squeeze_dim(1);
        HtsAtOutput { states, last: self.unfolded(as_map(normed, grid)), pooled }
    }

    /// Strips below one another, stretched to fill the square.
    ///
    /// # Shapes
    ///
    /// - log_mel: `[batch, pictures, frames, bands]`
    /// - output: `[batch, pictures, side, side]`
    fn folded(&self, log_mel: Tensor<4>) -> Tensor<4> {
        let ([batch, pictures, frames, bands], side, strips) = (log_mel.dims(), self.plan.side, self.plan.strips);
        let (length, height) = (side * strips, side / strips);
        assert!(
            frames <= length && bands <= height,
            "{frames} frames of {bands} bands in {strips} strips of {height} x {side}"
        );
        let mut x = log_mel.reshape([batch * pictures, frames, bands]);
        if frames < length {
            x = florin_backend::product(stretching(frames, length, &x), x);
        }
        if bands < height {
            x = florin_backend::product(stretching(bands, height, &x), x.swap_dims(1, 2)).swap_dims(1, 2);
        }
        x.reshape([batch * pictures, strips, side, height]).swap_dims(2, 3).reshape([batch, pictures, side, side])
    }

    /// # Shapes
    ///
    /// - pictures: `[batch, pictures, side, side]`
    /// - output: `[batch, patches, dim]`
    fn embed(&self, pictures: Tensor<4>, longer: &[bool]) -> Tensor<3> {
        let patches = self.plan.cut.patches(pictures.clone().narrow(1, 0, 1));
        let whole = self.patch_embedding.forward(patches);
        let x = match &self.fusion {
            Some(fusion) => fusion.forward(whole, pictures.narrow(1, 1, PICTURES - 1), longer, self.plan.grids[0]),
            None => whole,
        };
        match &self.patch_norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// Strips beside one another again.
    ///
    /// # Shapes
    ///
    /// - map: `[batch, dim, rows, columns]`
    /// - output: `[batch, dim, rows of a strip, strips · columns]`
    fn unfolded(&self, map: Tensor<4>) -> Tensor<4> {
        let [batch, dim, rows, columns] = map.dims();
        let height = rows / self.plan.strips;
        map.reshape([batch, dim, rows / height, height, columns])
            .swap_dims(2, 3) // [batch, dim, height, strips, columns]
            .reshape([batch, dim, height, rows / height * columns])
    }
}

/// The weights of old places for each new one, for every row of `x`.
///
/// # Shapes
///
/// - x: `[rows, ..]`
/// - output: `[rows, to, from]`
fn stretching(from: usize, to: usize, x: &Tensor<3>) -> Tensor<3> {
    let weights: Vec<f32> = cubic_between_corners(from, to).concat().into_iter().map(|weight| weight as f32).collect();
    let weights = Tensor::<3>::from_data(TensorData::new(weights, [1, to, from]), &x.device());
    weights.expand([x.dims()[0], to, from])
}

/// # Shapes
///
/// - x: `[batch, rows · columns, dim]`
/// - output: `[batch, dim, rows, columns]`
fn as_map(x: Tensor<3>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [batch, _, dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, dim, rows, columns])
}

impl Encoder for HtsAtEncoder {
    type Input = HtsAtInput;

    fn modality(&self) -> Modality {
        Modality::Audio
    }

    fn dim(&self) -> usize {
        self.plan.dim
    }

    fn encode(&self, input: HtsAtInput) -> Encoded {
        let HtsAtOutput { last, pooled, .. } = self.forward(input);
        let [batch, dim, height, length] = last.dims();
        let vectors = last.reshape([batch, dim, height * length]).swap_dims(1, 2);
        let mask = Mask::all_kept(batch, height * length, &vectors.device());
        Encoded { modality: Modality::Audio, pooled, tokens: Tokens::new(vectors, mask) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two strips of four bands in a square of eight.
    fn small() -> HtsAtConfig {
        HtsAtConfig {
            window_size: 2,
            num_mel_bins: 4,
            spec_size: 8,
            patch_size: Sides::Square(1),
            patch_stride: Sides::Square(1),
            depths: vec![1, 2],
            num_attention_heads: vec![1, 2],
            patch_embeds_hidden_size: 4,
            ..Default::default()
        }
    }

    #[test]
    fn time_goes_to_the_right_and_then_down() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = small().init(&device).unwrap();
        let values: Vec<f32> = (0..64).map(|value| value as f32).collect();
        let log_mel = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 16, 4]), &device);
        let found = encoder.folded(log_mel).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found[..8], [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0], "the lowest band of the first frames");
        assert_eq!(found[8..10], [1.0, 5.0], "the next band");
        assert_eq!(found[32..34], [32.0, 36.0], "the second strip");
    }

    #[test]
    fn a_sound_becomes_vectors_of_the_last_stage() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = small().init(&device).unwrap();
        let input = || HtsAtInput { log_mel: Tensor::ones([2, 1, 11, 4], &device), longer: Vec::new() };
        let output = encoder.forward(input());
        assert_eq!(
            output.states.iter().map(|state| state.dims()).collect::<Vec<_>>(),
            [[2, 4, 8, 8], [2, 8, 4, 4], [2, 8, 4, 4]]
        );
        assert_eq!(output.last.dims(), [2, 8, 2, 8]);
        let encoded = encoder.encode(input());
        assert_eq!((encoded.tokens.dims(), encoded.pooled.dims(), encoder.dim()), ([2, 16, 8], [2, 8], 8));
    }

    #[test]
    fn pictures_that_are_not_filled_are_refused() {
        let error = |config: HtsAtConfig| config.validate().unwrap_err().to_string();
        assert!(HtsAtConfig::default().validate().is_ok());
        assert_eq!(
            error(HtsAtConfig { spec_size: 3, ..small() }),
            "hts-at: spec_size must be a multiple of how often num_mel_bins fits into it, found 3 with 4 bands"
        );
        assert!(
            error(HtsAtConfig { patch_size: Sides::Square(2), ..small() }).contains("found [7, 7] patches, not [8, 8]")
        );
        assert!(error(HtsAtConfig { window_size: 5, ..small() }).contains("found 5 of 4 x 4"));
        assert!(
            error(HtsAtConfig { patch_stride: Sides::Square(2), ..small() })
                .contains("patch_stride must be at most patch_size")
        );
        assert!(error(HtsAtConfig { num_attention_heads: vec![1], ..small() }).contains("one number for every stage"));
        assert!(
            error(HtsAtConfig { fusion_type: Some("channel_map".to_owned()), ..small() }).contains("found channel_map")
        );
        assert!(error(HtsAtConfig { num_mel_bins: 1, window_size: 1, ..small() }).contains("8 strips in 4 rows"));
        assert!(error(HtsAtConfig { mlp_ratio: f64::NAN, ..small() }).contains("mlp_ratio"));
        assert!(
            error(HtsAtConfig { depths: vec![], num_attention_heads: vec![], ..small() }).contains("stages in depths")
        );
    }
}
