//! CLAP: a RoBERTa and an encoder of sounds, HTS-AT, whose vectors two small perceptrons bring into one space; together or one of them
//! alone.
//!
//! Paper: Wu et al. 2022, <https://arxiv.org/abs/2211.06687>
//! Difference: none from transformers, whose loss lets texts pick sounds in both of its terms, once under the scale of each side; the
//! paper's second term lets sounds pick texts, as `florin_losses::ClapLoss` does.

use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use florin_encoders::{
    BertConfig, BertEncoder, BertInput, HtsAtConfig, HtsAtEncoder, HtsAtInput, HtsAtOutput, activation,
};
use florin_losses::ClapLoss;
use florin_nn::{Activation, Linear, constant};
use serde::Deserialize;

use crate::ModelError;
use crate::bert::ENCODER_NAMES;
use crate::marks::maybe_marks;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::pairs::{nothing_given, of_length_one, shared_width, text_inputs};
use crate::roberta;
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::text_embedder::TextRules;
use crate::text_model::Places;
use crate::words::words;

const ARCHITECTURES: [&str; 5] =
    ["ClapModel", "ClapTextModel", "ClapTextModelWithProjection", "ClapAudioModel", "ClapAudioModelWithProjection"];

/// What transformers calls the parts of the encoder of sounds.
const AUDIO_NAMES: [Rule; 24] = [
    rule("audio", "audio_model.audio_encoder"),
    rule("audio.patch_embedding", "audio_model.audio_encoder.patch_embed.proj"),
    rule("audio.patch_norm", "audio_model.audio_encoder.patch_embed.norm"),
    rule("audio.fusion.patch_embedding", "audio_model.audio_encoder.patch_embed.mel_conv2d"),
    rule("audio.fusion.gate.local.down", "audio_model.audio_encoder.patch_embed.fusion_model.local_att.0"),
    rule("audio.fusion.gate.local.down_norm", "audio_model.audio_encoder.patch_embed.fusion_model.local_att.1"),
    rule("audio.fusion.gate.local.up", "audio_model.audio_encoder.patch_embed.fusion_model.local_att.3"),
    rule("audio.fusion.gate.local.up_norm", "audio_model.audio_encoder.patch_embed.fusion_model.local_att.4"),
    rule("audio.fusion.gate.global.down", "audio_model.audio_encoder.patch_embed.fusion_model.global_att.1"),
    rule("audio.fusion.gate.global.down_norm", "audio_model.audio_encoder.patch_embed.fusion_model.global_att.2"),
    rule("audio.fusion.gate.global.up", "audio_model.audio_encoder.patch_embed.fusion_model.global_att.4"),
    rule("audio.fusion.gate.global.up_norm", "audio_model.audio_encoder.patch_embed.fusion_model.global_att.5"),
    rule("audio.stages.#.blocks.#.attention_norm", "audio_model.audio_encoder.layers.#.blocks.#.layernorm_before"),
    rule("audio.stages.#.blocks.#.attention.query", "audio_model.audio_encoder.layers.#.blocks.#.attention.self.query"),
    rule("audio.stages.#.blocks.#.attention.key", "audio_model.audio_encoder.layers.#.blocks.#.attention.self.key"),
    rule("audio.stages.#.blocks.#.attention.value", "audio_model.audio_encoder.layers.#.blocks.#.attention.self.value"),
    rule(
        "audio.stages.#.blocks.#.attention.output",
        "audio_model.audio_encoder.layers.#.blocks.#.attention.output.dense",
    ),
    rule(
        "audio.stages.#.blocks.#.position_biases",
        "audio_model.audio_encoder.layers.#.blocks.#.attention.self.relative_position_bias_table",
    ),
    rule("audio.stages.#.blocks.#.mlp_norm", "audio_model.audio_encoder.layers.#.blocks.#.layernorm_after"),
    rule("audio.stages.#.blocks.#.mlp.up", "audio_model.audio_encoder.layers.#.blocks.#.intermediate.dense"),
    rule("audio.stages.#.blocks.#.mlp.down", "audio_model.audio_encoder.layers.#.blocks.#.output.dense"),
    rule("audio.stages.#.merging", "audio_model.audio_encoder.layers.#.downsample"),
    rule("similarity.log_scale_of_sounds", "logit_scale_a"),
    rule("similarity.log_scale_of_texts", "logit_scale_t"),
];

/// The towers, one or both, and what makes their vectors comparable.
#[derive(Module, Debug)]
pub struct Clap {
    /// The tower of texts.
    pub encoder: Option<BertEncoder>,
    /// What the first token's vector goes through, with a hyperbolic tangent.
    pub pooler: Option<Linear>,
    /// From a text's vector to the shared space.
    pub text_projection: Option<ClapProjection>,
    /// The tower of sounds.
    pub audio: Option<HtsAtEncoder>,
    /// From a sound's vector to the shared space.
    pub audio_projection: Option<ClapProjection>,
    /// What compares vectors, where both towers are there.
    pub similarity: Option<ClapSimilarity>,
    #[module(skip)]
    places: Places,
    vocabulary: usize,
    #[module(skip)]
    sounds: Sounds,
}

/// `linear2(activation(linear1(x)))`
#[derive(Module, Debug)]
pub struct ClapProjection {
    /// `[dim, shared dim]`
    pub linear1: Linear,
    /// `[shared dim, shared dim]`
    pub linear2: Linear,
    #[module(skip)]
    activation: Activation,
}

/// How alike a sound and a text are, from their vectors: either side has a scale of its own.
#[derive(Module, Debug)]
pub struct ClapSimilarity {
    /// Logarithm of the factor of the cosines, `[1]`, for the scores of each sound.
    pub log_scale_of_sounds: Param<Tensor<1>>,
    /// The same for the scores of each text, `[1]`.
    pub log_scale_of_texts: Param<Tensor<1>>,
}

/// The log-mels that are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Sounds {
    pictures: usize,
    bands: usize,
    most_frames: usize,
    takes_parts: bool,
}

/// What stands in a part of a `config.json`, or beside both, and is no tower's size.
#[derive(Deserialize)]
#[serde(default)]
struct OwnConfig {
    projection_dim: usize,
    projection_hidden_act: String,
}

impl Default for OwnConfig {
    fn default() -> Self {
        Self { projection_dim: 512, projection_hidden_act: "relu".to_owned() }
    }
}

/// The text tower's sizes, which are those of RoBERTa's base model where a file is silent.
fn text_tower(checkpoint: &Checkpoint) -> Result<BertConfig, ModelError> {
    let usual = BertConfig {
        vocab_size: 50_265,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        max_position_embeddings: 514,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    let config: BertConfig = checkpoint.part_over("text_config", &usual)?;
    config.validate()?;
    Ok(config)
}

/// The names in a file, in which a tower that is alone has no prefix.
fn names(checkpoint: &Checkpoint) -> Names {
    let has = |prefix| checkpoint.weights().has_prefix(prefix);
    let is_bare_sound = has("audio_encoder.");
    let sounds = AUDIO_NAMES.map(|rule| if is_bare_sound { rule.without_in_file("audio_model.") } else { rule });
    let prefix = if has("embeddings.") { "" } else { "text_model." };
    Names::new(ENCODER_NAMES).with_prefix(prefix).and(sounds).ignoring(is_unused)
}

/// Counts and places that transformers stores and computes anew.
fn is_unused(name: &str) -> bool {
    let stored = ["position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked"];
    stored.iter().any(|end| name.ends_with(end))
}

impl Clap {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let architecture = checkpoint.architecture()?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(checkpoint.unknown_architecture(&ARCHITECTURES));
        }
        let is_pair = architecture == "ClapModel";
        let mut model = Self {
            encoder: None,
            pooler: None,
            text_projection: None,
            audio: None,
            audio_projection: None,
            similarity: is_pair.then(|| ClapSimilarity::new(device)),
            places: Places::FromTheStart(0),
            vocabulary: 0,
            sounds: Sounds::default(),
        };
        // Of a pair one width stands beside both parts; of a tower alone its own stands in its part.
        let projection = |part: &str, dim: usize| match architecture {
            "ClapModel" => ClapProjection::new(dim, &checkpoint.config()?, device).map(Some),
            alone if alone.ends_with("WithProjection") => {
                ClapProjection::new(dim, &checkpoint.config_or_part(part)?, device).map(Some)
            }
            _ => Ok(None),
        };
        if is_pair || architecture.starts_with("ClapText") {
            let sizes = text_tower(checkpoint)?;
            let dim = sizes.hidden_size;
            model.places = roberta::places(checkpoint, sizes.max_position_embeddings, 1)?;
            model.vocabulary = sizes.vocab_size;
            model.encoder = Some(sizes.init(device));
            model.pooler = Some(Linear::new(dim, dim, device));
            model.text_projection = projection("text_config", dim)?;
        }
        if is_pair || architecture.starts_with("ClapAudio") {
            let sizes: HtsAtConfig = checkpoint.config_or_part("audio_config")?;
            model.audio = Some(sizes.init(device)?);
            model.audio_projection = projection("audio_config", sizes.width())?;
            let (pictures, bands, most_frames) = (sizes.pictures(), sizes.num_mel_bins, sizes.most_frames());
            model.sounds = Sounds { pictures, bands, most_frames, takes_parts: sizes.enable_fusion };
        }
        checkpoint.fill(model, names(checkpoint))
    }

    /// The hidden states of the texts where padding is somebody's concern, the last one, and the vector of each.
    fn read(
        &self,
        encoder: &BertEncoder,
        inputs: &Inputs,
    ) -> Result<(Vec<Tensor<3>>, Tensor<3>, Tensor<2>), ModelError> {
        let (ids, mask) = words(inputs, self.vocabulary, self.places.longest())?;
        let positions = self.places.positions(inputs, ids.dims())?;
        let input = BertInput { positions, ..BertInput::new(ids, mask) };
        let (states, last) = if inputs.drops_padding() {
            (Vec::new(), encoder.forward(input).padded())
        } else {
            let states = encoder.hidden_states(&input);
            let last = states[states.len() - 1].clone();
            (states, last)
        };
        let first = last.clone().narrow(1, 0, 1).squeeze_dim(1);
        let pooled = match &self.pooler {
            Some(pooler) => pooler.forward_activated(first, Activation::Tanh),
            None => first,
        };
        Ok((states, last, pooled))
    }

    fn listen(&self, encoder: &HtsAtEncoder, inputs: &Inputs) -> Result<HtsAtOutput, ModelError> {
        let log_mel = inputs.tensor::<4>("input_features", "[batch, pictures, frames, bands]")?;
        let ([batch, pictures, frames, bands], sounds) = (log_mel.dims(), &self.sounds);
        if [pictures, bands] != [sounds.pictures, sounds.bands] || frames > sounds.most_frames {
            let (wanted, most) = (sounds.pictures, sounds.most_frames);
            let expected = format!("{wanted} pictures of at most {most} frames of {} bands", sounds.bands);
            let found = format!("{pictures} of {frames} frames of {bands} bands");
            return Err(refused("input_features", &expected, &found));
        }
        let mut longer = Vec::new();
        if sounds.takes_parts {
            let dims = "yes and no of shape [batch, 1]";
            let marks: Option<Tensor<2, Bool>> = maybe_marks(inputs, "is_longer", [batch, 1])?;
            let marks = marks.ok_or_else(|| refused("is_longer", dims, "nothing"))?;
            longer = marks.into_data().iter::<bool>().collect();
        }
        Ok(encoder.forward(HtsAtInput { log_mel, longer }))
    }
}

impl ClapProjection {
    fn new(dim: usize, config: &OwnConfig, device: &Device) -> Result<Self, ModelError> {
        let shared = shared_width(config.projection_dim)?;
        Ok(Self {
            linear1: Linear::new(dim, shared, device),
            linear2: Linear::new(shared, shared, device),
            activation: activation("clap", &config.projection_hidden_act)?,
        })
    }

    /// # Shapes
    ///
    /// - x: `[batch, dim]`
    /// - output: `[batch, shared dim]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear2.forward(self.linear1.forward_activated(x, self.activation))
    }
}

impl ClapSimilarity {
    fn new(device: &Device) -> Self {
        // ln(1/0.07), where CLIP starts.
        let scale = || constant([1], (1.0f64 / 0.07).ln(), device);
        Self { log_scale_of_sounds: scale(), log_scale_of_texts: scale() }
    }

    /// Everything that vectors of one tower or of both give: vectors of length one, and with both their similarities, and the
    /// loss where there are as many texts as sounds.
    ///
    /// # Shapes
    ///
    /// - text: `[texts, dim]`
    /// - audio: `[sounds, dim]`
    pub fn outputs(&self, text: Option<Tensor<2>>, audio: Option<Tensor<2>>) -> Outputs {
        let (text, audio) = (text.map(of_length_one), audio.map(of_length_one));
        let outputs = match (&text, &audio) {
            (Some(text), Some(audio)) => self.compared(text, audio),
            _ => Outputs::new(),
        };
        outputs.with_maybe("text_embeds", text).with_maybe("audio_embeds", audio)
    }

    fn compared(&self, text: &Tensor<2>, audio: &Tensor<2>) -> Outputs {
        let cosines = florin_backend::product(audio.clone(), text.clone().transpose());
        let of = |scale: &Param<Tensor<1>>, cosines: Tensor<2>| cosines * scale.val().exp().unsqueeze();
        let is_paired = text.dims()[0] == audio.dims()[0];
        Outputs::new()
            .with_maybe("loss", is_paired.then(|| self.loss(text, audio)))
            .with("logits_per_audio", of(&self.log_scale_of_sounds, cosines.clone()))
            .with("logits_per_text", of(&self.log_scale_of_texts, cosines.transpose()))
    }

    fn loss(&self, text: &Tensor<2>, audio: &Tensor<2>) -> Tensor<1> {
        let texts_pick = |scale: &Param<Tensor<1>>| {
            ClapLoss::default().forward(audio.clone(), text.clone(), scale.val(), scale.val()).text_to_audio
        };
        (texts_pick(&self.log_scale_of_texts) + texts_pick(&self.log_scale_of_sounds)) / 2.0
    }
}

impl Forward for Clap {
    fn wants(&self) -> Vec<Wanted> {
        let is_pair = self.similarity.is_some();
        let mut wants = if self.encoder.is_some() { text_inputs(!is_pair) } else { Vec::new() };
        let sound = if is_pair { Wanted::optional } else { Wanted::needed };
        if self.audio.is_some() {
            wants.push(sound("input_features", "[batch, pictures, frames, bands]"));
        }
        if self.sounds.takes_parts {
            wants.push(sound("is_longer", "[batch, 1]"));
        }
        wants
    }

    fn text_rules(&self) -> Option<TextRules> {
        let (vocabulary, longest) = (self.vocabulary, self.places.longest());
        self.encoder.as_ref().map(|_| TextRules { vocabulary, longest, sees_padding: false })
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let text = self.encoder.as_ref().filter(|_| self.similarity.is_none() || inputs.has("input_ids"));
        let audio = self.audio.as_ref().filter(|_| self.similarity.is_none() || inputs.has("input_features"));
        let text = text.map(|encoder| self.read(encoder, inputs)).transpose()?;
        let audio = audio.map(|encoder| self.listen(encoder, inputs)).transpose()?;
        let project = |projection: &Option<ClapProjection>, pooled: &Tensor<2>| {
            projection.as_ref().map(|projection| projection.forward(pooled.clone()))
        };
        let text_embeds = text.as_ref().and_then(|(_, _, pooled)| project(&self.text_projection, pooled));
        let audio_embeds = audio.as_ref().and_then(|output| project(&self.audio_projection, &output.pooled));
        if let Some(similarity) = &self.similarity {
            if text.is_none() && audio.is_none() {
                return Err(nothing_given(inputs, "input_features"));
            }
            return Ok(similarity.outputs(text_embeds, audio_embeds));
        }
        // One tower alone: its vectors have the length that they have.
        let pooled_or = |outputs: Outputs, name: &str, embeds: Option<Tensor<2>>, pooled: Tensor<2>| match embeds {
            Some(embeds) => outputs.with(name, embeds),
            None => outputs.with("pooler_output", pooled),
        };
        match (text, audio) {
            (Some((states, last, pooled)), _) => {
                let outputs = Outputs::new().with("last_hidden_state", last);
                Ok(pooled_or(outputs, "text_embeds", text_embeds, pooled).with_hidden_states(states))
            }
            (None, Some(HtsAtOutput { states, last, pooled })) => {
                let outputs = Outputs::new().with("last_hidden_state", last);
                Ok(pooled_or(outputs, "audio_embeds", audio_embeds, pooled).with_hidden_states(states))
            }
            (None, None) => Err(nothing_given(inputs, "input_features")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_whole_model() {
        let names = Names::new(ENCODER_NAMES).with_prefix("text_model.").and(AUDIO_NAMES);
        for (own, expected) in [
            ("encoder.layers.3.mlp.up.bias", "text_model.encoder.layer.3.intermediate.dense.bias"),
            ("pooler.weight", "text_model.pooler.dense.weight"),
            ("audio.batch_norm.running_var", "audio_model.audio_encoder.batch_norm.running_var"),
            ("audio.norm.weight", "audio_model.audio_encoder.norm.weight"),
            (
                "audio.stages.1.merging.reduction.weight",
                "audio_model.audio_encoder.layers.1.downsample.reduction.weight",
            ),
            (
                "audio.stages.2.blocks.5.position_biases",
                "audio_model.audio_encoder.layers.2.blocks.5.attention.self.relative_position_bias_table",
            ),
            ("text_projection.linear1.bias", "text_projection.linear1.bias"),
            ("similarity.log_scale_of_sounds", "logit_scale_a"),
        ] {
            assert_eq!(names.locate(own).name, expected);
        }
        assert!(is_unused("audio_model.audio_encoder.layers.0.blocks.0.attention.self.relative_position_index"));
        assert!(is_unused("audio_model.audio_encoder.batch_norm.num_batches_tracked"));
    }

    #[test]
    fn sounds_of_another_shape_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let sounds = Sounds { pictures: 1, bands: 4, most_frames: 16, takes_parts: false };
        let sizes = HtsAtConfig { num_mel_bins: 4, spec_size: 8, window_size: 2, ..Default::default() };
        let sizes = HtsAtConfig { depths: vec![1], num_attention_heads: vec![2], patch_embeds_hidden_size: 4, ..sizes };
        let (encoder, model) = (
            sizes.init(&device).unwrap(),
            Clap {
                encoder: None,
                pooler: None,
                text_projection: None,
                audio: None,
                audio_projection: None,
                similarity: None,
                places: Places::FromTheStart(0),
                vocabulary: 0,
                sounds,
            },
        );
        let given = |shape: [usize; 4]| {
            let values = vec![0.5; shape.iter().product::<usize>()];
            let inputs = Inputs::new(&device).floats("input_features", &shape, values);
            model.listen(&encoder, &inputs).map(|output| output.pooled.dims()).map_err(|error| error.to_string())
        };
        assert_eq!(given([2, 1, 9, 4]), Ok([2, 4]));
        let expected = "input input_features: expected 1 pictures of at most 16 frames of 4 bands, found 4 of 17 frames of 4 bands";
        assert_eq!(given([1, 4, 17, 4]), Err(expected.to_owned()));
        assert!(given([1, 1, 17, 4]).is_err() && given([1, 1, 9, 5]).is_err());
    }
}
