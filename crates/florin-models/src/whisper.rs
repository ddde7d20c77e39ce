//! Whisper: its encoder, and a classifier of sounds on it.
//!
//! A folder of the whole model opens too, as does one of CTranslate2 (`faster-whisper`); what belongs to its decoder is passed over, as
//! nothing here writes text, and is not there when the encoder is saved.
//!
//! Paper: Radford et al. 2022, <https://arxiv.org/abs/2212.04356>
//! Difference: no decoder; the outputs are those of transformers' `WhisperEncoder`, and `sound_embedding`, the mean of the vectors whose
//! frames hold sound.

use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use florin_backend::softmax;
use florin_encoders::{WhisperConfig, WhisperEncoder};
use florin_nn::{Linear, Mask, Tokens, constant};
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::whisper_ctranslate2;

const ARCHITECTURES: [&str; 3] = ["WhisperModel", "WhisperForConditionalGeneration", "WhisperForAudioClassification"];

/// What transformers calls the parts.
const NAMES: [Rule; 14] = [
    rule("encoder.first", "~encoder.conv1"),
    rule("encoder.second", "~encoder.conv2"),
    rule("encoder.positions", "~encoder.embed_positions.weight"),
    rule("encoder.layers.#.attention.query", "~encoder.layers.#.self_attn.q_proj"),
    rule("encoder.layers.#.attention.key", "~encoder.layers.#.self_attn.k_proj"),
    rule("encoder.layers.#.attention.value", "~encoder.layers.#.self_attn.v_proj"),
    rule("encoder.layers.#.attention.output", "~encoder.layers.#.self_attn.out_proj"),
    rule("encoder.layers.#.attention_norm", "~encoder.layers.#.self_attn_layer_norm"),
    rule("encoder.layers.#.mlp.up", "~encoder.layers.#.fc1"),
    rule("encoder.layers.#.mlp.down", "~encoder.layers.#.fc2"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layers.#.final_layer_norm"),
    rule("encoder.norm", "~encoder.layer_norm"),
    rule("head.layer_weights", "layer_weights"),
    rule("head", ""),
];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct Whisper {
    /// The encoder.
    pub encoder: WhisperEncoder,
    /// The classifier, where there is one.
    pub head: Option<SoundClassifier>,
    #[module(skip)]
    config: WhisperConfig,
}

/// Scores from the mean of projected vectors.
#[derive(Module, Debug)]
pub struct SoundClassifier {
    /// The weight of each hidden state before a softmax, `[blocks + 1]`; without them the last state alone is read.
    pub layer_weights: Option<Param<Tensor<1>>>,
    /// `[dim, projected]`
    pub projector: Linear,
    /// `[projected, classes]`
    pub classifier: Linear,
}

#[derive(Deserialize)]
#[serde(default)]
struct HeadConfig {
    classifier_proj_size: usize,
    use_weighted_layer_sum: bool,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { classifier_proj_size: 256, use_weighted_layer_sum: false }
    }
}

impl Whisper {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: WhisperConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let head = match checkpoint.architecture()? {
            "WhisperModel" | "WhisperForConditionalGeneration" => None,
            "WhisperForAudioClassification" => Some(SoundClassifier::new(checkpoint, &config, device)?),
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let weights = checkpoint.weights();
        let prefix = if weights.has_prefix("model.") { "model." } else { "" };
        let names = Names::new(NAMES).with_prefix(prefix).ignoring(is_of_the_decoder);
        if weights.specification().is_none() {
            return checkpoint.fill(Self { encoder, head, config }, names);
        }
        let (dim, bands) = (config.d_model, config.num_mel_bins);
        let shapes = [("encoder.conv1.weight", vec![dim, bands, 3]), ("encoder.conv2.weight", vec![dim, dim, 3])];
        let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape)).into();
        Ok(checkpoint.fill(Self { encoder, head, config }, whisper_ctranslate2::names())?.written_as(names, shapes))
    }
}

impl SoundClassifier {
    fn new(checkpoint: &Checkpoint, config: &WhisperConfig, device: &Device) -> Result<Self, ModelError> {
        let head: HeadConfig = checkpoint.config()?;
        let projected = head.classifier_proj_size;
        if !(1..=1_048_576).contains(&projected) {
            let reason = format!("classifier_proj_size must lie between 1 and 1048576, found {projected}");
            return Err(checkpoint.refused(reason));
        }
        let states = config.encoder_layers + 1;
        Ok(Self {
            layer_weights: head.use_weighted_layer_sum.then(|| constant([states], 1.0 / states as f64, device)),
            projector: Linear::new(config.d_model, projected, device),
            classifier: Linear::new(projected, classes(checkpoint)?, device),
        })
    }

    /// # Shapes
    ///
    /// - states: `[batch, seq, dim]` each, the encoder's
    /// - output: `[batch, classes]`
    ///
    /// # Panics
    ///
    /// If there is no state, or not one for every weight.
    pub fn forward(&self, states: &[Tensor<3>]) -> Tensor<2> {
        let read = match &self.layer_weights {
            Some(weights) => weighted_sum(states, weights.val()),
            None => states[states.len() - 1].clone(),
        };
        let pooled = self.projector.forward(read).mean_dim(1).squeeze_dim::<2>(1);
        self.classifier.forward(pooled)
    }
}

impl Whisper {
    /// Which vectors are of frames that hold sound: each is of two, of which the first decides, as transformers counts them.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, frames / 2]`
    fn sounding(&self, inputs: &Inputs, batch: usize) -> Result<Mask, ModelError> {
        let (frames, vectors, device) = (self.config.frames(), self.config.max_source_positions, inputs.device());
        let Some((shape, marks)) = inputs.maybe_whole::<2>("attention_mask", "[batch, frames]")? else {
            return Ok(Mask::all_kept(batch, vectors, device));
        };
        if shape != [batch, frames] {
            return Err(refused("attention_mask", &format!("shape [{batch}, {frames}]"), &format!("{shape:?}")));
        }
        let kept: Vec<bool> = marks.iter().step_by(2).map(|&mark| mark != 0).collect();
        Ok(Mask::from_kept(&kept, batch, vectors, device))
    }
}

/// The states added up, each multiplied by its share in the softmax of the weights.
///
/// # Shapes
///
/// - states, output: `[batch, seq, dim]`
/// - weights: `[states]`
fn weighted_sum(states: &[Tensor<3>], weights: Tensor<1>) -> Tensor<3> {
    let shares = softmax(weights, 0);
    let weighted = states.iter().enumerate().map(|(index, state)| {
        let share: Tensor<3> = shares.clone().narrow(0, index, 1).unsqueeze();
        state.clone() * share
    });
    weighted.reduce(|sum, state| sum + state).expect("an encoder gives at least one state")
}

impl Forward for Whisper {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![
            Wanted::needed("input_features", "[batch, bands, frames]"),
            Wanted::optional("attention_mask", "[batch, frames]"),
        ];
        if self.head.is_some() {
            wants.push(Wanted::optional("labels", "[batch]"));
        }
        wants
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let log_mel = inputs.tensor::<3>("input_features", "[batch, bands, frames]")?;
        let [batch, bands, frames] = log_mel.dims();
        let expected = [self.config.num_mel_bins, self.config.frames()];
        if [bands, frames] != expected {
            let [bands_wanted, frames_wanted] = expected;
            let expected = format!("{bands_wanted} bands of {frames_wanted} frames, the sound padded or cut to them");
            return Err(refused("input_features", &expected, &format!("{bands} bands of {frames} frames")));
        }
        let sounding = self.sounding(inputs, batch)?;
        let states = self.encoder.hidden_states(log_mel);
        let embedding = Tokens::new(states[states.len() - 1].clone(), sounding).mean();
        let outputs = match &self.head {
            None => Outputs::new().with("last_hidden_state", states[states.len() - 1].clone()),
            Some(head) => {
                let logits = head.forward(&states);
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
        };
        Ok(outputs.with("sound_embedding", embedding).with_hidden_states(states))
    }
}

/// The decoder, and the matrix from its vectors to words, which some files hold twice.
fn is_of_the_decoder(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.starts_with("decoder.") || name.starts_with("proj_out.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_whole_model_and_of_the_classifier() {
        let whole = Names::new(NAMES).with_prefix("model.").ignoring(is_of_the_decoder);
        let name = |own| whole.locate(own).name;
        assert_eq!(name("encoder.positions"), "model.encoder.embed_positions.weight");
        assert_eq!(name("encoder.layers.3.attention.key.weight"), "model.encoder.layers.3.self_attn.k_proj.weight");
        assert_eq!(name("encoder.layers.3.mlp_norm.bias"), "model.encoder.layers.3.final_layer_norm.bias");
        assert_eq!(name("head.projector.weight"), "projector.weight");
        assert!(whole.ignores("model.decoder.layers.0.fc1.weight") && whole.ignores("proj_out.weight"));
        assert!(!whole.ignores("model.encoder.layers.0.fc1.weight"));
    }

    #[test]
    fn sounds_of_another_length_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let sizes = WhisperConfig { num_mel_bins: 4, d_model: 8, encoder_attention_heads: 2, ..Default::default() };
        let config = WhisperConfig { encoder_layers: 1, encoder_ffn_dim: 8, max_source_positions: 3, ..sizes };
        let model = Whisper { encoder: config.init(&device).unwrap(), head: None, config };
        let given = |shape: [usize; 3]| {
            let values = vec![0.5; shape.iter().product::<usize>()];
            model.forward(&Inputs::new(&device).floats("input_features", &shape, values))
        };
        let error = given([1, 4, 8]).unwrap_err().to_string();
        assert!(error.contains("4 bands of 6 frames, the sound padded or cut to them, found 4 bands of 8"), "{error}");
        assert!(given([2, 4, 6]).is_ok());
    }

    #[test]
    fn the_vector_of_a_sound_is_the_mean_over_what_sounds() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let sizes = WhisperConfig { num_mel_bins: 2, d_model: 4, encoder_attention_heads: 2, ..Default::default() };
        let config = WhisperConfig { encoder_layers: 1, encoder_ffn_dim: 8, max_source_positions: 4, ..sizes };
        let model = Whisper { encoder: config.init(&device).unwrap(), head: None, config };
        let log_mel = (0..32).map(|value| value as f32 / 32.0).collect();
        let inputs = Inputs::new(&device).floats("input_features", &[2, 2, 8], log_mel);
        // Three frames are two vectors; of nothing that sounds there is no mean.
        let marks = vec![1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let outputs = model.forward(&inputs.clone().whole("attention_mask", &[2, 8], marks)).unwrap();
        let values = |name: &str| {
            let output = outputs.get(name).expect("it is given").values.clone();
            output.into_data().try_to_vec::<f32>().expect("f32")
        };
        let (vectors, found) = (values("last_hidden_state"), values("sound_embedding"));
        for dim in 0..4 {
            assert!((found[dim] - (vectors[dim] + vectors[4 + dim]) / 2.0).abs() < 1e-6);
        }
        assert_eq!(found[4..], [0.0; 4]);
        let error = model.forward(&inputs.whole("attention_mask", &[2, 4], vec![1; 8])).unwrap_err().to_string();
        assert_eq!(error, "input attention_mask: expected shape [2, 8], found [2, 4]");
    }
}
