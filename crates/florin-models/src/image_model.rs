//! What systems of the ViT family share: the encoder with what stands on it, called with pictures.
//!
//! ViT, DeiT, DINOv2 and BEiT differ in names, in tokens before the patches and in how a picture becomes one vector; each says so in a
//! file of its own and is one of these.

use burn::prelude::*;
use florin_encoders::{Sides, VitConfig, VitEncoder, VitVariant, activation, patches};
use florin_nn::AttentionBiases;
use serde::Deserialize;

use crate::ModelError;
use crate::image_heads::{ImageHead, ImagePooler, MASKED, at, behind, code_loss};
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Wanted};

/// What transformers calls the encoder's parts.
const NAMES: [Rule; 14] = [
    rule("encoder.patch_embedding", "~embeddings.patch_embeddings.projection"),
    rule("encoder.class_token", "~embeddings.cls_token"),
    rule("encoder.distillation_token", "~embeddings.distillation_token"),
    rule("encoder.mask_token", "~embeddings.mask_token"),
    rule("encoder.position_embeddings", "~embeddings.position_embeddings"),
    rule("encoder.layers.#.attention.query", "~layers.#.attention.q_proj"),
    rule("encoder.layers.#.attention.key", "~layers.#.attention.k_proj"),
    rule("encoder.layers.#.attention.value", "~layers.#.attention.v_proj"),
    rule("encoder.layers.#.attention.output", "~layers.#.attention.o_proj"),
    rule("encoder.layers.#.attention_norm", "~layers.#.layernorm_before"),
    rule("encoder.layers.#.mlp.up", "~layers.#.mlp.fc1"),
    rule("encoder.layers.#.mlp.down", "~layers.#.mlp.fc2"),
    rule("encoder.layers.#.mlp_norm", "~layers.#.layernorm_after"),
    rule("encoder.norm", "~layernorm"),
];

/// What it called the blocks' parts before version 5, as published checkpoints do.
const OLDER_NAMES: [Rule; 8] = [
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.attention.query"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.attention.key"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.attention.value"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.output.dense"),
    rule("encoder.layers.#.attention_norm", "~encoder.layer.#.layernorm_before"),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.intermediate.dense"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.output.dense"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layer.#.layernorm_after"),
];

/// The sizes in a `config.json`, under transformers' names and with ViT's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ImageConfig {
    pub(crate) image_size: Sides,
    pub(crate) patch_size: Sides,
    pub(crate) num_channels: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) hidden_act: String,
    pub(crate) layer_norm_eps: f64,
    pub(crate) qkv_bias: bool,
}

/// An encoder and what stands on it.
#[derive(Module, Debug)]
pub struct ImageModel {
    /// The encoder.
    pub encoder: VitEncoder,
    /// What a picture's vector goes through, where the architecture has it.
    pub pooler: Option<ImagePooler>,
    /// The head, where there is one.
    pub head: Option<ImageHead>,
    #[module(skip)]
    pictures: Pictures,
}

/// The pictures that a system takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pictures {
    /// Colour channels.
    pub(crate) channels: usize,
    /// Side of a patch in pixels.
    pub(crate) patch: usize,
    /// The one grid of patches that is taken; without it any, to which positions are interpolated.
    pub(crate) grid: Option<[usize; 2]>,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            image_size: Sides::Square(224),
            patch_size: Sides::Square(16),
            num_channels: 3,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            qkv_bias: true,
        }
    }
}

impl ImageConfig {
    /// The encoder's sizes. A picture's last pixels that fill no patch are left out, as the strided convolution does.
    pub(crate) fn sizes(&self, checkpoint: &Checkpoint) -> Result<VitConfig, ModelError> {
        let ([height, width], [patch, across]) = (self.image_size.both(), self.patch_size.both());
        if patch != across {
            return Err(checkpoint.refused(format!("patch_size must be square, found {patch} x {across}")));
        }
        let whole = |side: usize| side.checked_div(patch).unwrap_or(0) * patch;
        let sizes = VitConfig {
            height: whole(height),
            width: whole(width),
            patch,
            channels: self.num_channels,
            dim: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            hidden: self.intermediate_size,
            class_token: true,
            epsilon: self.layer_norm_eps,
        };
        sizes.validate()?;
        Ok(sizes)
    }

    pub(crate) fn variant(&self, family: &'static str) -> Result<VitVariant, ModelError> {
        let biases = if self.qkv_bias { AttentionBiases::ALL } else { AttentionBiases::OUTPUT };
        Ok(VitVariant { activation: activation(family, &self.hidden_act)?, biases, ..Default::default() })
    }
}

impl Pictures {
    /// Pictures of any size, with the channels and patches of these sizes.
    pub(crate) fn of(sizes: &VitConfig) -> Self {
        Self { channels: sizes.channels, patch: sizes.patch, grid: None }
    }

    /// Patches of the input `pixel_values`, and the rows and columns that they form.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, patches, channels * patch * patch]`
    pub(crate) fn patches(&self, inputs: &Inputs) -> Result<(Tensor<3>, [usize; 2]), ModelError> {
        let (seen, grid) = self.seen(inputs)?;
        Ok((self.cut(seen), grid))
    }

    /// The patches of pictures that are made of whole ones.
    ///
    /// # Shapes
    ///
    /// - seen: `[batch, channels, rows * patch, columns * patch]`
    /// - output: `[batch, patches, channels * patch * patch]`
    pub(crate) fn cut(&self, seen: Tensor<4>) -> Tensor<3> {
        patches(seen, self.patch)
    }

    /// The input `pixel_values` without what fills no patch, and the rows and columns of patches in it.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, channels, rows * patch, columns * patch]`
    pub(crate) fn seen(&self, inputs: &Inputs) -> Result<(Tensor<4>, [usize; 2]), ModelError> {
        let pixels = inputs.tensor::<4>("pixel_values", "[batch, channels, height, width]")?;
        let ([_, channels, height, width], patch) = (pixels.dims(), self.patch);
        let grid = [height / patch, width / patch];
        if channels != self.channels || !self.grid.map_or(grid[0] > 0 && grid[1] > 0, |own| own == grid) {
            let sides = match self.grid {
                Some([rows, columns]) => format!("{} x {} pixels", rows * patch, columns * patch),
                None => format!("at least {patch} x {patch} pixels"),
            };
            let found = format!("{channels} channels of {height} x {width}");
            return Err(refused("pixel_values", &format!("{} channels of {sides}", self.channels), &found));
        }
        Ok((pixels.narrow(2, 0, grid[0] * patch).narrow(3, 0, grid[1] * patch), grid))
    }
}

impl ImageModel {
    /// An encoder with nothing on it.
    pub(crate) fn new(encoder: VitEncoder, pictures: Pictures) -> Self {
        Self { encoder, pooler: None, head: None, pictures }
    }

    /// Which patches are hidden, if that is said; where no vector can stand for them it is refused.
    fn masked(&self, inputs: &Inputs, shape: [usize; 2]) -> Result<Option<Vec<bool>>, ModelError> {
        let marks = inputs.maybe_marks(MASKED, "[batch, patches]", shape)?;
        if marks.is_some() && !self.takes_masks() {
            let expected = "nothing, as this model has no mask token or its head does not use it";
            return Err(refused(MASKED, expected, &format!("shape {shape:?}")));
        }
        Ok(marks)
    }

    fn takes_masks(&self) -> bool {
        self.encoder.mask_token.is_some() && matches!(self.head, None | Some(ImageHead::Codes(_)))
    }

    /// A picture's vector.
    ///
    /// # Shapes
    ///
    /// - last: `[batch, tokens, dim]`, of which the last `patches` are patches
    /// - output: `[batch, pooled dim]`
    fn vector(&self, last: &Tensor<3>, patches: usize) -> Tensor<2> {
        match &self.pooler {
            Some(pooler) => pooler.forward(last, patches),
            None => at(last, 0),
        }
    }
}

/// The names in a file of transformers, whichever version wrote it.
pub(crate) fn names_of(checkpoint: &Checkpoint, prefix: &'static str) -> Names {
    let weights = checkpoint.weights();
    let prefix = if weights.has_prefix(prefix) { prefix } else { "" };
    let names = Names::new(NAMES).with_prefix(prefix);
    if weights.has_prefix(&format!("{prefix}encoder.layer.")) { names.and(OLDER_NAMES) } else { names }
}

impl Forward for ImageModel {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![Wanted::needed("pixel_values", "[batch, channels, height, width]")];
        if self.takes_masks() {
            wants.push(Wanted::optional(MASKED, "[batch, patches]"));
        }
        match &self.head {
            Some(ImageHead::Classes(_)) => wants.push(Wanted::optional("labels", "[batch]")),
            Some(ImageHead::Codes(_)) => wants.push(Wanted::optional("labels", "[hidden patches]")),
            Some(ImageHead::Distilled(_)) | None => {}
        }
        wants
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let (patches, grid) = self.pictures.patches(inputs)?;
        let [batch, count, _] = patches.dims();
        let masked = self.masked(inputs, [batch, count])?;
        let marks =
            masked.clone().map(|marks| Tensor::from_data(TensorData::new(marks, [batch, count]), inputs.device()));
        let states = self.encoder.block_states(self.encoder.embedded(patches, grid, marks), grid);
        let last = self.encoder.normed(states[states.len() - 1].clone());
        let outputs = match &self.head {
            None => {
                let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(&last, count));
                Outputs::new().with("last_hidden_state", last).with_maybe("pooler_output", pooled)
            }
            Some(ImageHead::Classes(head)) => {
                let logits = head.forward(self.vector(&last, count));
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
            Some(ImageHead::Distilled(head)) => {
                let class = head.class.forward(at(&last, 0));
                let distillation = head.distillation.forward(at(&last, 1));
                Outputs::new()
                    .with("logits", (class.clone() + distillation.clone()) / 2.0)
                    .with("cls_logits", class)
                    .with("distillation_logits", distillation)
            }
            Some(ImageHead::Codes(head)) => {
                let logits = head.forward(behind(&last, count));
                let loss = code_loss(inputs, &logits, masked.as_deref())?;
                Outputs::new().with_maybe("loss", loss).with("logits", logits)
            }
        };
        Ok(outputs.with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use florin_nn::{LayerNorm, Linear};

    use super::*;
    use crate::image_heads::CodesHead;

    #[test]
    fn published_checkpoints_have_older_names() {
        let names = Names::new(NAMES).with_prefix("vit.").and(OLDER_NAMES);
        for (own, expected) in [
            ("encoder.layers.3.attention.query.bias", "vit.encoder.layer.3.attention.attention.query.bias"),
            ("encoder.layers.3.attention.output.weight", "vit.encoder.layer.3.attention.output.dense.weight"),
            ("encoder.layers.3.attention_norm.weight", "vit.encoder.layer.3.layernorm_before.weight"),
            ("encoder.layers.3.mlp.up.weight", "vit.encoder.layer.3.intermediate.dense.weight"),
            ("encoder.layers.3.mlp.down.weight", "vit.encoder.layer.3.output.dense.weight"),
            ("encoder.norm.bias", "vit.layernorm.bias"),
        ] {
            assert_eq!(names.locate(own).name, expected);
        }
    }

    #[test]
    fn masks_that_no_vector_can_stand_for_and_labels_of_nothing_hidden_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let (height, width, patch, channels, dim, layers, heads, hidden) = (2, 4, 2, 1, 8, 1, 2, 8);
        let (class_token, epsilon) = (true, 1e-12);
        let sizes = VitConfig { height, width, patch, channels, dim, layers, heads, hidden, class_token, epsilon };
        let model = |mask_token: bool| {
            let variant = VitVariant { mask_token, ..Default::default() };
            ImageModel::new(sizes.init_as(&variant, &device), Pictures::of(&sizes))
        };
        let picture = || Inputs::new(&device).floats("pixel_values", &[1, 1, 2, 4], vec![0.0; 8]);
        let error = |model: &ImageModel, inputs: Inputs| model.forward(&inputs).unwrap_err().to_string();
        let marked = |marks: Vec<i64>| picture().whole(MASKED, &[1, marks.len()], marks);
        assert!(error(&model(false), marked(vec![0, 1])).contains("expected nothing, as this model has no mask token"));
        assert!(error(&model(true), marked(vec![0, 1, 1])).contains("expected shape [1, 2], found [1, 3]"));
        assert!(model(true).forward(&marked(vec![0, 1])).is_ok());
        let mut codes = model(true);
        let (norm, dense) = (LayerNorm::new(8, 1e-12, &device), Linear::new(8, 5, &device));
        codes.head = Some(ImageHead::Codes(CodesHead { norm, dense }));
        let labelled = |inputs: Inputs, labels: Vec<i64>| inputs.whole("labels", &[labels.len()], labels);
        assert!(error(&codes, labelled(picture(), vec![3])).contains("found nothing hidden"));
        assert!(error(&codes, labelled(marked(vec![0, 0]), vec![3])).contains("found nothing hidden"));
        assert!(error(&codes, labelled(marked(vec![1, 0]), vec![3, 1])).contains("expected 1 numbers"));
        assert!(error(&codes, labelled(marked(vec![1, 0]), vec![5])).contains("numbers from 0 to 4"));
        assert!(codes.forward(&labelled(marked(vec![1, 0]), vec![4])).is_ok());
    }

    #[test]
    fn pictures_that_hold_no_patch_or_other_channels_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let any = Pictures { channels: 1, patch: 2, grid: None };
        let cut = |pictures: Pictures, shape: [usize; 4]| {
            let values = vec![0.0; shape.iter().product::<usize>()];
            let inputs = Inputs::new(&device).floats("pixel_values", &shape, values);
            pictures.patches(&inputs).map(|(patches, grid)| (patches.dims(), grid)).map_err(|error| error.to_string())
        };
        assert_eq!(cut(any, [2, 1, 5, 7]), Ok(([2, 6, 4], [2, 3])));
        let error = cut(any, [1, 3, 4, 1]).unwrap_err();
        assert!(error.contains("expected 1 channels of at least 2 x 2 pixels, found 3 channels of 4 x 1"), "{error}");
        assert!(cut(any, [1, 1, 4, 1]).is_err());
        let fixed = Pictures { grid: Some([2, 2]), ..any };
        assert!(cut(fixed, [1, 1, 4, 6]).unwrap_err().contains("expected 1 channels of 4 x 4 pixels"));
    }
}
