//! SigLIP and SigLIP 2: two towers trained pair by pair, together or one of them alone; SigLIP 2 also over pictures of any proportions.
//!
//! Paper: Zhai et al. 2023 (SigLIP), <https://arxiv.org/abs/2303.15343>
//! Difference: none.
//! Paper: Tschannen et al. 2025 (SigLIP 2), <https://arxiv.org/abs/2502.14786>
//! Difference: none; checkpoints of a fixed resolution say `siglip` of themselves, those of any (NaFlex) `siglip2`.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{ImageTower, ImageTowerConfig, ProbePooling, TextTower, TextTowerConfig, activation};
use florin_nn::{Linear, Mask};
use serde::Deserialize;

use crate::ModelError;
use crate::clip::{text_input, tower_names};
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Rule, rule};
use crate::pairs::{Similarity, nothing_given, pictures, shared_width, text_inputs};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::text_embedder::TextRules;

const ARCHITECTURES: [&str; 6] =
    ["SiglipModel", "SiglipTextModel", "SiglipVisionModel", "Siglip2Model", "Siglip2TextModel", "Siglip2VisionModel"];

/// What transformers calls the parts beyond the towers.
const NAMES: [Rule; 14] = [
    rule("text_head", "text_model.head"),
    rule("image_head.probe", "vision_model.head.probe"),
    rule("image_head.attention.query.weight", "vision_model.head.attention.in_proj_weight").rows(0, 3),
    rule("image_head.attention.key.weight", "vision_model.head.attention.in_proj_weight").rows(1, 3),
    rule("image_head.attention.value.weight", "vision_model.head.attention.in_proj_weight").rows(2, 3),
    rule("image_head.attention.query.bias", "vision_model.head.attention.in_proj_bias").rows(0, 3),
    rule("image_head.attention.key.bias", "vision_model.head.attention.in_proj_bias").rows(1, 3),
    rule("image_head.attention.value.bias", "vision_model.head.attention.in_proj_bias").rows(2, 3),
    rule("image_head.attention.output", "vision_model.head.attention.out_proj"),
    rule("image_head.norm", "vision_model.head.layernorm"),
    rule("image_head.mlp.up", "vision_model.head.mlp.fc1"),
    rule("image_head.mlp.down", "vision_model.head.mlp.fc2"),
    rule("similarity.log_scale", "logit_scale"),
    rule("similarity.bias", "logit_bias"),
];

/// The towers, one or both, with their heads.
#[derive(Module, Debug)]
pub struct SigLip {
    /// The tower of texts.
    pub text: Option<TextTower>,
    /// From the last token's vector to the shared space, `[dim, shared dim]`.
    pub text_head: Option<Linear>,
    /// The tower of pictures.
    pub image: Option<ImageTower>,
    /// What makes one vector of all patches.
    pub image_head: Option<ProbePooling>,
    /// What compares vectors, where both towers are there.
    pub similarity: Option<Similarity>,
    vocabulary: usize,
    positions: usize,
    /// Whether pictures come as patches with the grid that they form.
    takes_patches: bool,
}

/// What stands in a part of a `config.json` and is no tower's size.
#[derive(Deserialize)]
struct OwnConfig {
    /// Width of the shared space; that of the text tower unless given.
    projection_size: Option<usize>,
    #[serde(default = "default_head")]
    vision_use_head: bool,
    /// Positions of SigLIP 2's table, a square.
    #[serde(default = "default_patches")]
    num_patches: usize,
}

fn default_head() -> bool {
    true
}

fn default_patches() -> usize {
    256
}

/// The text tower's sizes, which are those of the base model where a file is silent.
fn text_tower(checkpoint: &Checkpoint) -> Result<TextTowerConfig, ModelError> {
    let usual = TextTowerConfig {
        vocab_size: 32_000,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        max_position_embeddings: 64,
        hidden_act: "gelu_pytorch_tanh".to_owned(),
        layer_norm_eps: 1e-6,
        causal: false,
    };
    checkpoint.part_over("text_config", &usual)
}

/// The image tower's sizes, which are those of the base model where a file is silent; SigLIP 2's side is that of its square of positions.
fn image_tower(checkpoint: &Checkpoint, takes_patches: bool, patches: usize) -> Result<ImageTowerConfig, ModelError> {
    let usual = ImageTowerConfig {
        image_size: 224,
        patch_size: 16,
        num_channels: 3,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        hidden_act: "gelu_pytorch_tanh".to_owned(),
        layer_norm_eps: 1e-6,
        class_token: false,
    };
    let sizes: ImageTowerConfig = checkpoint.part_over("vision_config", &usual)?;
    if !takes_patches {
        return Ok(sizes);
    }
    let side = patches.isqrt();
    if side * side != patches {
        return Err(checkpoint.refused(format!("num_patches must be a square number, found {patches}")));
    }
    Ok(ImageTowerConfig { image_size: side * sizes.patch_size, ..sizes })
}

fn pooling(sizes: &ImageTowerConfig, device: &Device) -> Result<ProbePooling, ModelError> {
    let (dim, heads, hidden) = (sizes.hidden_size, sizes.num_attention_heads, sizes.intermediate_size);
    let activation = activation("siglip", &sizes.hidden_act)?;
    Ok(ProbePooling::new(dim, heads, hidden, activation, sizes.layer_norm_eps, device))
}

impl SigLip {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let architecture = checkpoint.architecture()?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
        }
        let takes_patches = architecture.starts_with("Siglip2");
        let mut model = Self {
            text: None,
            text_head: None,
            image: None,
            image_head: None,
            similarity: matches!(architecture, "SiglipModel" | "Siglip2Model").then(|| Similarity::one_by_one(device)),
            vocabulary: 0,
            positions: 0,
            takes_patches,
        };
        // The towers first: they refuse sizes that the heads would trip over.
        if !architecture.ends_with("VisionModel") {
            let sizes = text_tower(checkpoint)?;
            model.text = Some(sizes.init(device)?);
            let own: OwnConfig = checkpoint.config_or_part("text_config")?;
            let shared = shared_width(own.projection_size.unwrap_or(sizes.hidden_size))?;
            model.text_head = Some(Linear::new(sizes.hidden_size, shared, device));
            (model.vocabulary, model.positions) = (sizes.vocab_size, sizes.max_position_embeddings);
        }
        if !architecture.ends_with("TextModel") {
            let own: OwnConfig = checkpoint.config_or_part("vision_config")?;
            let sizes = image_tower(checkpoint, takes_patches, own.num_patches)?;
            model.image = Some(sizes.init(device)?);
            model.image_head = own.vision_use_head.then(|| pooling(&sizes, device)).transpose()?;
        }
        if model.similarity.is_some() && model.image_head.is_none() {
            return Err(checkpoint.refused("a pair needs the head of its image tower (`vision_use_head`)".to_owned()));
        }
        checkpoint.fill(model, tower_names(checkpoint, NAMES))
    }

    /// The hidden states of the texts, the last one normed, and their vectors.
    fn read(&self, tower: &TextTower, inputs: &Inputs) -> Result<Seen, ModelError> {
        let states = tower.hidden_states(&text_input(inputs, self.vocabulary, self.positions)?);
        let last = tower.norm.forward(states[states.len() - 1].clone());
        let [_, seq, _] = last.dims();
        // The last place, whatever stands there: texts are padded to full length, as in training.
        let end = last.clone().narrow(1, seq - 1, 1).squeeze_dim(1);
        let pooled = self.text_head.as_ref().map(|head| head.forward(end));
        Ok(Seen { states, last, pooled })
    }

    fn look(&self, tower: &ImageTower, inputs: &Inputs) -> Result<Seen, ModelError> {
        let (states, mask) = match self.takes_patches {
            false => (tower.hidden_states(pictures(inputs, tower.picture())?), None),
            true => {
                let Patches { pixels, grids, mask } = Patches::of(inputs, tower.picture(), tower.patch())?;
                (tower.hidden_states_of_patches(pixels, &grids, &mask), Some(mask))
            }
        };
        let last = tower.norm.forward(states[states.len() - 1].clone());
        let pooled = self.image_head.as_ref().map(|head| head.forward(last.clone(), mask.as_ref()));
        Ok(Seen { states, last, pooled })
    }
}

/// What a tower gives.
struct Seen {
    states: Vec<Tensor<3>>,
    /// The last of them, normed.
    last: Tensor<3>,
    pooled: Option<Tensor<2>>,
}

/// Pictures as patches.
struct Patches {
    pixels: Tensor<3>,
    grids: Vec<[usize; 2]>,
    mask: Mask,
}

impl Patches {
    fn of(inputs: &Inputs, [channels, ..]: [usize; 3], patch: usize) -> Result<Self, ModelError> {
        let size = channels * patch * patch;
        let pixels = inputs.tensor::<3>("pixel_values", "[batch, patches, patch * patch * channels]")?;
        let [batch, count, found] = pixels.dims();
        if found != size {
            return Err(refused("pixel_values", &format!("patches of {size} numbers"), &found.to_string()));
        }
        let mask = inputs.mask("pixel_attention_mask", [batch, count])?;
        let dims = "rows and columns of patches, [batch, 2]";
        let Some((shape, sides)) = inputs.maybe_whole::<2>("spatial_shapes", dims)? else {
            return Err(refused("spatial_shapes", dims, "nothing"));
        };
        let grids: Vec<[usize; 2]> =
            sides.as_chunks::<2>().0.iter().map(|sides| sides.map(|side| usize::try_from(side).unwrap_or(0))).collect();
        let fits = |[rows, columns]: &[usize; 2]| (1..=count).contains(&rows.saturating_mul(*columns));
        if shape != [batch, 2] || !grids.iter().all(fits) {
            let expected = format!("for each of {batch} pictures rows and columns of at most {count} patches");
            return Err(refused("spatial_shapes", &expected, &format!("{sides:?}")));
        }
        Ok(Self { pixels, grids, mask })
    }
}

impl Forward for SigLip {
    fn wants(&self) -> Vec<Wanted> {
        let is_pair = self.similarity.is_some();
        let mut wants = if self.text.is_some() { text_inputs(!is_pair) } else { Vec::new() };
        let picture = if is_pair { Wanted::optional } else { Wanted::needed };
        match (&self.image, self.takes_patches) {
            (None, _) => {}
            (Some(_), false) => wants.push(picture("pixel_values", "[batch, channels, height, width]")),
            (Some(_), true) => wants.extend([
                picture("pixel_values", "[batch, patches, patch * patch * channels]"),
                Wanted::optional("pixel_attention_mask", "[batch, patches]"),
                picture("spatial_shapes", "[batch, 2]"),
            ]),
        }
        wants
    }

    fn text_rules(&self) -> Option<TextRules> {
        let (vocabulary, longest) = (self.vocabulary, self.positions);
        self.text.as_ref().map(|_| TextRules { vocabulary, longest, sees_padding: true })
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let text = self.text.as_ref().filter(|_| self.similarity.is_none() || inputs.has("input_ids"));
        let image = self.image.as_ref().filter(|_| self.similarity.is_none() || inputs.has("pixel_values"));
        let text = text.map(|tower| self.read(tower, inputs)).transpose()?;
        let image = image.map(|tower| self.look(tower, inputs)).transpose()?;
        if let Some(similarity) = &self.similarity {
            if text.is_none() && image.is_none() {
                return Err(nothing_given(inputs, "pixel_values"));
            }
            return Ok(similarity.outputs(text.and_then(|seen| seen.pooled), image.and_then(|seen| seen.pooled)));
        }
        let Seen { states, last, pooled } = text.or(image).ok_or_else(|| nothing_given(inputs, "pixel_values"))?;
        let outputs = Outputs::new().with("last_hidden_state", last).with_maybe("pooler_output", pooled);
        Ok(outputs.with_hidden_states(states))
    }
}
