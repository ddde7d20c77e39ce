//! Chinese-CLIP: CLIP's image tower beside a BERT, whose first token is the text's vector.
//!
//! Paper: Yang et al. 2022, <https://arxiv.org/abs/2211.01335>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{BertConfig, BertEncoder, BertInput, ImageTower};
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::bert::ENCODER_NAMES;
use crate::clip::{self, TOWER_NAMES};
use crate::named_tensors::{Inputs, Outputs};
use crate::names::{Names, rule};
use crate::pairs::{Similarity, nothing_given, shared_width, text_inputs};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::text_embedder::TextRules;
use crate::words::{for_each_word, words};

const ARCHITECTURES: [&str; 1] = ["ChineseCLIPModel"];

/// Both towers and what makes their vectors comparable.
#[derive(Module, Debug)]
pub struct ChineseClip {
    /// The tower of texts.
    pub encoder: BertEncoder,
    /// The tower of pictures.
    pub image: ImageTower,
    /// `[text dim, shared dim]`
    pub text_projection: Linear,
    /// `[image dim, shared dim]`
    pub image_projection: Linear,
    /// What compares vectors.
    pub similarity: Similarity,
    vocabulary: usize,
    types: usize,
    places: usize,
}

#[derive(Deserialize)]
struct SharedConfig {
    projection_dim: usize,
}

impl ChineseClip {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        if checkpoint.architecture()? != ARCHITECTURES[0] {
            return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
        }
        let text: BertConfig = checkpoint.part_of_config("text_config")?;
        text.validate()?;
        let image = clip::image_tower(checkpoint)?;
        let SharedConfig { projection_dim } = checkpoint.config()?;
        let projection_dim = shared_width(projection_dim)?;
        let model = Self {
            encoder: text.init(device),
            image: image.init(device)?,
            text_projection: Linear::without_bias(text.hidden_size, projection_dim, device),
            image_projection: Linear::without_bias(image.hidden_size, projection_dim, device),
            similarity: Similarity::among_all(device),
            vocabulary: text.vocab_size,
            types: text.type_vocab_size,
            places: text.max_position_embeddings,
        };
        let names = Names::new(ENCODER_NAMES).and(TOWER_NAMES).with_prefix("text_model.");
        let names =
            names.and([rule("image_projection", "visual_projection"), rule("similarity.log_scale", "logit_scale")]);
        // A pooler that some checkpoints store is never used.
        let is_unused = |name: &str| name.ends_with("position_ids") || name.starts_with("text_model.pooler.");
        checkpoint.fill(model, names.ignoring(is_unused))
    }

    fn read(&self, inputs: &Inputs) -> Result<Tensor<2>, ModelError> {
        let (ids, mask) = words(inputs, self.vocabulary, self.places)?;
        let token_types = for_each_word(inputs, "token_type_ids", ids.dims(), self.types)?;
        let positions = for_each_word(inputs, "position_ids", ids.dims(), self.places)?;
        let input = BertInput { ids, mask, token_types, positions, added: None };
        let last = match inputs.drops_padding() {
            true => self.encoder.forward(input).padded(),
            // The first token counts even where it is padding, which `forward` would leave out.
            false => self.encoder.hidden_states(&input).pop().expect("the embeddings are a state"),
        };
        Ok(self.text_projection.forward(last.narrow(1, 0, 1).squeeze_dim(1)))
    }
}

impl Forward for ChineseClip {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = text_inputs(false);
        wants.push(Wanted::optional("token_type_ids", "[batch, seq]"));
        wants.push(Wanted::optional("pixel_values", "[batch, channels, height, width]"));
        wants
    }

    fn text_rules(&self) -> Option<TextRules> {
        Some(TextRules { vocabulary: self.vocabulary, longest: self.places, sees_padding: false })
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let text = inputs.has("input_ids").then(|| self.read(inputs)).transpose()?;
        let image = inputs.has("pixel_values").then(|| clip::look(&self.image, inputs)).transpose()?;
        if text.is_none() && image.is_none() {
            return Err(nothing_given(inputs, "pixel_values"));
        }
        Ok(self.similarity.outputs(text, image.map(|(_, pooled)| self.image_projection.forward(pooled))))
    }
}
