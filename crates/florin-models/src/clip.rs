//! CLIP: two towers whose vectors of a picture and its text are alike, together or one of them alone.
//!
//! Paper: Radford et al. 2021, <https://arxiv.org/abs/2103.00020>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{ImageTower, ImageTowerConfig, TextTower, TextTowerConfig, TextTowerInput};
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::named_tensors::{Inputs, Outputs};
use crate::names::{Names, Rule, rule};
use crate::pairs::{Similarity, at_places, nothing_given, pictures, shared_width, text_inputs};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::text_embedder::TextRules;
use crate::words::{for_each_word, words};

const ARCHITECTURES: [&str; 5] =
    ["CLIPModel", "CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModel", "CLIPVisionModelWithProjection"];

/// What transformers calls the parts of both towers.
pub(crate) const TOWER_NAMES: [Rule; 24] = [
    rule("text.word_embeddings", "text_model.embeddings.token_embedding"),
    rule("text.position_embeddings", "text_model.embeddings.position_embedding"),
    rule("text.layers.#.attention.query", "text_model.encoder.layers.#.self_attn.q_proj"),
    rule("text.layers.#.attention.key", "text_model.encoder.layers.#.self_attn.k_proj"),
    rule("text.layers.#.attention.value", "text_model.encoder.layers.#.self_attn.v_proj"),
    rule("text.layers.#.attention.output", "text_model.encoder.layers.#.self_attn.out_proj"),
    rule("text.layers.#.attention_norm", "text_model.encoder.layers.#.layer_norm1"),
    rule("text.layers.#.mlp.up", "text_model.encoder.layers.#.mlp.fc1"),
    rule("text.layers.#.mlp.down", "text_model.encoder.layers.#.mlp.fc2"),
    rule("text.layers.#.mlp_norm", "text_model.encoder.layers.#.layer_norm2"),
    rule("text.norm", "text_model.final_layer_norm"),
    rule("image.patch_embedding", "vision_model.embeddings.patch_embedding"),
    rule("image.class_token", "vision_model.embeddings.class_embedding"),
    rule("image.position_embeddings", "vision_model.embeddings.position_embedding.weight"),
    // The spelling is OpenAI's.
    rule("image.embedding_norm", "vision_model.pre_layrnorm"),
    rule("image.layers.#.attention.query", "vision_model.encoder.layers.#.self_attn.q_proj"),
    rule("image.layers.#.attention.key", "vision_model.encoder.layers.#.self_attn.k_proj"),
    rule("image.layers.#.attention.value", "vision_model.encoder.layers.#.self_attn.v_proj"),
    rule("image.layers.#.attention.output", "vision_model.encoder.layers.#.self_attn.out_proj"),
    rule("image.layers.#.attention_norm", "vision_model.encoder.layers.#.layer_norm1"),
    rule("image.layers.#.mlp.up", "vision_model.encoder.layers.#.mlp.fc1"),
    rule("image.layers.#.mlp.down", "vision_model.encoder.layers.#.mlp.fc2"),
    rule("image.layers.#.mlp_norm", "vision_model.encoder.layers.#.layer_norm2"),
    rule("image.norm", "vision_model.post_layernorm"),
];

/// What it calls the rest.
const NAMES: [Rule; 2] = [rule("image_projection", "visual_projection"), rule("similarity.log_scale", "logit_scale")];

/// The names of the towers in a file, in which newer versions leave out the prefix of a tower that is alone.
pub(crate) fn tower_names(checkpoint: &Checkpoint, more: impl IntoIterator<Item = Rule>) -> Names {
    let has = |prefix| checkpoint.weights().has_prefix(prefix);
    let is_bare = has("embeddings.") && !has("text_model.") && !has("vision_model.");
    let named = |rule: Rule| match is_bare {
        true => rule.without_in_file("text_model.").without_in_file("vision_model."),
        false => rule,
    };
    let names = Names::new(TOWER_NAMES.into_iter().chain(more).map(named));
    names.ignoring(|name| name.ends_with("position_ids"))
}

/// The towers, one or both, and what makes their vectors comparable.
#[derive(Module, Debug)]
pub struct Clip {
    /// The tower of texts.
    pub text: Option<TextTower>,
    /// The tower of pictures.
    pub image: Option<ImageTower>,
    /// `[text dim, shared dim]`
    pub text_projection: Option<Linear>,
    /// `[image dim, shared dim]`
    pub image_projection: Option<Linear>,
    /// What compares vectors, where both towers are there.
    pub similarity: Option<Similarity>,
    #[module(skip)]
    end_of_text: EndOfText,
    vocabulary: usize,
    positions: usize,
}

/// Where a text's vector is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfText {
    /// At the largest id, which is that of the end of text in OpenAI's vocabulary.
    Largest,
    /// At the first of this id; at the beginning where there is none.
    First(i64),
}

/// What stands in a part of a `config.json`, or beside both, and is no tower's size.
#[derive(Deserialize)]
struct OwnConfig {
    #[serde(default = "default_projection_dim")]
    projection_dim: usize,
    #[serde(default = "default_end_of_text")]
    eos_token_id: Option<i64>,
}

fn default_projection_dim() -> usize {
    512
}

fn default_end_of_text() -> Option<i64> {
    Some(49_407)
}

impl OwnConfig {
    /// OpenAI's own checkpoints say 2, by a mistake that transformers goes on honouring: their vocabulary ends with the end of text.
    fn end_of_text(&self) -> EndOfText {
        match self.eos_token_id {
            None | Some(2) => EndOfText::Largest,
            Some(id) => EndOfText::First(id),
        }
    }
}

/// The text tower's sizes, which are those of ViT-B/32 where a file is silent.
fn text_tower(checkpoint: &Checkpoint) -> Result<TextTowerConfig, ModelError> {
    let usual = TextTowerConfig {
        vocab_size: 49_408,
        hidden_size: 512,
        num_hidden_layers: 12,
        num_attention_heads: 8,
        intermediate_size: 2048,
        max_position_embeddings: 77,
        hidden_act: "quick_gelu".to_owned(),
        layer_norm_eps: 1e-5,
        causal: true,
    };
    Ok(TextTowerConfig { causal: true, ..checkpoint.part_over("text_config", &usual)? })
}

/// The image tower's sizes, which are those of ViT-B/32 where a file is silent.
pub(crate) fn image_tower(checkpoint: &Checkpoint) -> Result<ImageTowerConfig, ModelError> {
    let usual = ImageTowerConfig {
        image_size: 224,
        patch_size: 32,
        num_channels: 3,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        hidden_act: "quick_gelu".to_owned(),
        layer_norm_eps: 1e-5,
        class_token: true,
    };
    Ok(ImageTowerConfig { class_token: true, ..checkpoint.part_over("vision_config", &usual)? })
}

impl Clip {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    /// The model of a checkpoint, to be trained or taken apart; with new weights where there are none to fill it with.
    pub fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        // Of a pair one width stands beside both parts; of a tower alone its own stands in its part.
        let (has_text, has_image, part) = match checkpoint.architecture()? {
            "CLIPModel" => (true, true, None),
            "CLIPTextModel" | "CLIPTextModelWithProjection" => (true, false, Some("text_config")),
            "CLIPVisionModel" | "CLIPVisionModelWithProjection" => (false, true, Some("vision_config")),
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let own = |part: &str| checkpoint.config_or_part::<OwnConfig>(part);
        let shared = match part {
            None => Some(checkpoint.config::<OwnConfig>()?.projection_dim),
            Some(part) if checkpoint.architecture()?.ends_with("WithProjection") => Some(own(part)?.projection_dim),
            Some(_) => None,
        };
        let text = match has_text {
            true => Some((text_tower(checkpoint)?, own("text_config")?.end_of_text(), shared)),
            false => None,
        };
        let image = if has_image { Some((image_tower(checkpoint)?, shared)) } else { None };
        checkpoint.fill(Self::new(text, image, device)?, tower_names(checkpoint, NAMES))
    }

    /// Towers, each with the width of its projection if it has one.
    pub(crate) fn new(
        text: Option<(TextTowerConfig, EndOfText, Option<usize>)>,
        image: Option<(ImageTowerConfig, Option<usize>)>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let shared = text.as_ref().and_then(|(.., shared)| *shared).or(image.as_ref().and_then(|(_, shared)| *shared));
        shared.map(shared_width).transpose()?;
        let mut clip = Self {
            text: None,
            image: None,
            text_projection: None,
            image_projection: None,
            similarity: (text.is_some() && image.is_some()).then(|| Similarity::among_all(device)),
            end_of_text: EndOfText::Largest,
            vocabulary: 0,
            positions: 0,
        };
        let projection = |dim, shared: Option<usize>| shared.map(|shared| Linear::without_bias(dim, shared, device));
        if let Some((config, end_of_text, shared)) = text {
            clip.text = Some(config.init(device)?);
            clip.text_projection = projection(config.hidden_size, shared);
            (clip.end_of_text, clip.vocabulary, clip.positions) =
                (end_of_text, config.vocab_size, config.max_position_embeddings);
        }
        if let Some((config, shared)) = image {
            clip.image = Some(config.init(device)?);
            clip.image_projection = projection(config.hidden_size, shared);
        }
        Ok(clip)
    }

    /// The hidden states of the texts where padding is somebody's concern, the last one normed, and their vectors.
    fn read(&self, tower: &TextTower, inputs: &Inputs) -> Result<(Vec<Tensor<3>>, Tensor<3>, Tensor<2>), ModelError> {
        let input = text_input(inputs, self.vocabulary, self.positions)?;
        let (shape, ids) = inputs.maybe_whole::<2>("input_ids", "[batch, seq]")?.expect("they were just read");
        let places = self.end_of_text.places(ids, shape[1]);
        let (states, last) = if inputs.drops_padding() {
            (Vec::new(), tower.forward(&input))
        } else {
            let states = tower.hidden_states(&input);
            let last = tower.norm.forward(states[states.len() - 1].clone());
            (states, last)
        };
        let pooled = at_places(last.clone(), &places);
        Ok((states, last, pooled))
    }
}

/// The hidden states of pictures and the vector of each.
pub(crate) fn look(tower: &ImageTower, inputs: &Inputs) -> Result<(Vec<Tensor<3>>, Tensor<2>), ModelError> {
    let states = tower.hidden_states(pictures(inputs, tower.picture())?);
    // The norm is for the class token alone: what else comes out of the last block stays as it is.
    let pooled = tower.norm.forward(states[states.len() - 1].clone().narrow(1, 0, 1)).squeeze_dim(1);
    Ok((states, pooled))
}

/// Word pieces of a text tower.
pub(crate) fn text_input(inputs: &Inputs, vocabulary: usize, positions: usize) -> Result<TextTowerInput, ModelError> {
    let (ids, mask) = words(inputs, vocabulary, positions)?;
    let positions = for_each_word(inputs, "position_ids", ids.dims(), positions)?;
    Ok(TextTowerInput { ids, mask, positions })
}

impl EndOfText {
    /// Its place in every row of `seq` ids.
    fn places(self, ids: &[i64], seq: usize) -> Vec<usize> {
        let place = |row: &[i64]| match self {
            Self::First(end) => row.iter().position(|&id| id == end).unwrap_or(0),
            // Of several the first: `max_by_key` would give the last.
            Self::Largest => row.iter().max().and_then(|most| row.iter().position(|id| id == most)).unwrap_or(0),
        };
        ids.chunks(seq).map(place).collect()
    }
}

impl Forward for Clip {
    fn wants(&self) -> Vec<Wanted> {
        let is_pair = self.similarity.is_some();
        let mut wants = if self.text.is_some() { text_inputs(!is_pair) } else { Vec::new() };
        if self.image.is_some() {
            let picture = if is_pair { Wanted::optional } else { Wanted::needed };
            wants.push(picture("pixel_values", "[batch, channels, height, width]"));
        }
        wants
    }

    fn text_rules(&self) -> Option<TextRules> {
        let (vocabulary, longest) = (self.vocabulary, self.positions);
        self.text.as_ref().map(|_| TextRules { vocabulary, longest, sees_padding: false })
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let text = self.text.as_ref().filter(|_| self.similarity.is_none() || inputs.has("input_ids"));
        let image = self.image.as_ref().filter(|_| self.similarity.is_none() || inputs.has("pixel_values"));
        let text = text.map(|tower| self.read(tower, inputs)).transpose()?;
        let image = image.map(|tower| look(tower, inputs)).transpose()?;
        let project = |pooled: &Tensor<2>, projection: &Option<Linear>| {
            projection.as_ref().map(|projection| projection.forward(pooled.clone()))
        };
        if let Some(similarity) = &self.similarity {
            if text.is_none() && image.is_none() {
                return Err(nothing_given(inputs, "pixel_values"));
            }
            let text = text.and_then(|(_, _, pooled)| project(&pooled, &self.text_projection));
            let image = image.and_then(|(_, pooled)| project(&pooled, &self.image_projection));
            return Ok(similarity.outputs(text, image));
        }
        // One tower alone: its vectors have the length that they have.
        let (name, embeds, last, pooled, states) = match (text, image) {
            (Some((states, last, pooled)), _) => {
                ("text_embeds", project(&pooled, &self.text_projection), last, pooled, states)
            }
            (None, Some((states, pooled))) => {
                let last = states[states.len() - 1].clone();
                ("image_embeds", project(&pooled, &self.image_projection), last, pooled, states)
            }
            (None, None) => return Err(nothing_given(inputs, "pixel_values")),
        };
        let outputs = match embeds {
            Some(embeds) => Outputs::new().with(name, embeds).with("last_hidden_state", last),
            None => Outputs::new().with("last_hidden_state", last).with("pooler_output", pooled),
        };
        Ok(outputs.with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_text_is_the_first_of_its_id_or_of_the_largest() {
        let ids = [5, 9, 7, 9, 1, 2, 3, 3];
        assert_eq!(EndOfText::Largest.places(&ids, 4), [1, 2]);
        assert_eq!(EndOfText::First(7).places(&ids, 4), [2, 0]);
    }
}
