//! VideoMAE: the encoder, the pre-training that draws hidden tubelets, and a classifier of clips.
//!
//! Paper: Tong et al. 2022, <https://arxiv.org/abs/2203.12602>
//! Difference: none.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{
    HiddenTubelets, VideoMaeConfig, VideoMaeDecoder, VideoMaeDecoderConfig, VideoMaeEncoder, VideoMaeInput,
};
use florin_nn::{LayerNorm, Linear};

use crate::ModelError;
use crate::classes::classes;
use crate::clip_embedder;
use crate::clips::clips;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};

const ARCHITECTURES: [&str; 3] = ["VideoMAEModel", "VideoMAEForPreTraining", "VideoMAEForVideoClassification"];

/// What transformers calls the parts.
const NAMES: [Rule; 24] = [
    rule("encoder.tubelet_embedding", "~embeddings.patch_embeddings.projection"),
    rule("encoder.norm", "~layernorm"),
    rule("encoder.layers.#.attention.query", "~encoder.layer.#.attention.attention.query"),
    rule("encoder.layers.#.attention.key", "~encoder.layer.#.attention.attention.key"),
    rule("encoder.layers.#.attention.value", "~encoder.layer.#.attention.attention.value"),
    rule("encoder.layers.#.attention.output", "~encoder.layer.#.attention.output.dense"),
    rule("encoder.layers.#.attention_norm", "~encoder.layer.#.layernorm_before"),
    rule("encoder.layers.#.mlp.up", "~encoder.layer.#.intermediate.dense"),
    rule("encoder.layers.#.mlp.down", "~encoder.layer.#.output.dense"),
    rule("encoder.layers.#.mlp_norm", "~encoder.layer.#.layernorm_after"),
    rule("head.input", "encoder_to_decoder"),
    rule("head.mask_token", "mask_token"),
    rule("head.layers.#.attention.query", "decoder.decoder_layers.#.attention.attention.query"),
    rule("head.layers.#.attention.key", "decoder.decoder_layers.#.attention.attention.key"),
    rule("head.layers.#.attention.value", "decoder.decoder_layers.#.attention.attention.value"),
    rule("head.layers.#.attention.output", "decoder.decoder_layers.#.attention.output.dense"),
    rule("head.layers.#.attention_norm", "decoder.decoder_layers.#.layernorm_before"),
    rule("head.layers.#.mlp.up", "decoder.decoder_layers.#.intermediate.dense"),
    rule("head.layers.#.mlp.down", "decoder.decoder_layers.#.output.dense"),
    rule("head.layers.#.mlp_norm", "decoder.decoder_layers.#.layernorm_after"),
    rule("head.norm", "decoder.norm"),
    rule("head.head", "decoder.head"),
    rule("head.mean_norm", "fc_norm"),
    rule("head.classifier", "classifier"),
];

/// Checkpoints of older versions, the published ones among them, keep the biases of queries and values beside the layers.
const OLDER_NAMES: [Rule; 4] = [
    rule("encoder.layers.#.attention.query.bias", "~encoder.layer.#.attention.attention.q_bias"),
    rule("encoder.layers.#.attention.value.bias", "~encoder.layer.#.attention.attention.v_bias"),
    rule("head.layers.#.attention.query.bias", "decoder.decoder_layers.#.attention.attention.q_bias"),
    rule("head.layers.#.attention.value.bias", "decoder.decoder_layers.#.attention.attention.v_bias"),
];

/// The encoder and what stands on it.
#[derive(Module, Debug)]
pub struct VideoMae {
    /// The encoder.
    pub encoder: VideoMaeEncoder,
    /// The head, where there is one.
    pub head: Option<VideoMaeHead>,
    #[module(skip)]
    config: VideoMaeConfig,
}

/// A head.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model holds one, not an array of them")]
pub enum VideoMaeHead {
    /// Draws hidden tubelets.
    PreTraining(VideoMaeDecoder),
    /// Scores classes.
    Classification(VideoClassifier),
}

/// Scores from the mean of all tokens, or from the first.
#[derive(Module, Debug)]
pub struct VideoClassifier {
    /// Norm of the mean; without it the first token is read.
    pub mean_norm: Option<LayerNorm>,
    /// `[dim, classes]`
    pub classifier: Linear,
}

impl VideoMae {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: VideoMaeConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let head = match checkpoint.architecture()? {
            "VideoMAEModel" => None,
            "VideoMAEForPreTraining" => {
                let decoder: VideoMaeDecoderConfig = checkpoint.config()?;
                Some(VideoMaeHead::PreTraining(decoder.init(&config, device)?))
            }
            "VideoMAEForVideoClassification" => {
                let dim = config.hidden_size;
                // transformers leaves this norm's epsilon at PyTorch's own.
                let mean_norm = config.use_mean_pooling.then(|| LayerNorm::new(dim, 1e-5, device));
                let classifier = Linear::new(dim, classes(checkpoint)?, device);
                Some(VideoMaeHead::Classification(VideoClassifier { mean_norm, classifier }))
            }
            _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
        };
        let prefix = if checkpoint.weights().has_prefix("videomae.") { "videomae." } else { "" };
        let is_older = checkpoint.weights().names().any(|name| name.ends_with(".attention.attention.q_bias"));
        let names = Names::new(NAMES).with_prefix(prefix);
        let names = if is_older { names.and(OLDER_NAMES) } else { names };
        checkpoint.fill(Self { encoder, head, config }, names)
    }

    /// What the encoder does not see; none without the input.
    fn hidden(&self, inputs: &Inputs, batch: usize) -> Result<Option<HiddenTubelets>, ModelError> {
        let tubelets = self.config.tubelets();
        let Some(marks) = inputs.maybe_marks("bool_masked_pos", "[batch, tubelets]", [batch, tubelets])? else {
            return Ok(None);
        };
        let hidden = HiddenTubelets::new(&marks, batch, tubelets);
        let expected = "as many hidden tubelets in every row, and one that is not";
        hidden.map(Some).ok_or_else(|| refused("bool_masked_pos", expected, "other marks"))
    }

    fn drawn(
        &self,
        decoder: &VideoMaeDecoder,
        last: Tensor<3>,
        pixels: Tensor<5>,
        hidden: Option<HiddenTubelets>,
    ) -> Result<Outputs, ModelError> {
        let hidden = hidden.filter(|hidden| hidden.hidden_count() > 0);
        let expected = "a mask that hides something";
        let hidden = hidden.ok_or_else(|| refused("bool_masked_pos", expected, "nothing hidden"))?;
        let logits = decoder.forward(last, &hidden);
        let loss = (logits.clone() - decoder.targets(pixels, &hidden)).square().mean();
        Ok(Outputs::new().with("loss", loss).with("logits", logits))
    }
}

impl VideoClassifier {
    /// # Shapes
    ///
    /// - tokens: `[batch, tokens, dim]`
    /// - output: `[batch, classes]`
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<2> {
        let pooled = match &self.mean_norm {
            Some(norm) => norm.forward(tokens.mean_dim(1).squeeze_dim::<2>(1)),
            None => tokens.narrow(1, 0, 1).squeeze_dim::<2>(1),
        };
        self.classifier.forward(pooled)
    }
}

impl Forward for VideoMae {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants = vec![Wanted::needed("pixel_values", "[batch, frames, channels, height, width]")];
        wants.push(match &self.head {
            None => Wanted::optional("bool_masked_pos", "[batch, tubelets]"),
            Some(VideoMaeHead::PreTraining(_)) => Wanted::needed("bool_masked_pos", "[batch, tubelets]"),
            Some(VideoMaeHead::Classification(_)) => Wanted::optional("labels", "[batch]"),
        });
        wants
    }

    fn frames(&self) -> Option<usize> {
        Some(self.config.num_frames)
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let [height, width] = self.config.image_size.both();
        let pixels = clips(inputs, self.config.num_channels)?;
        let [batch, frames, channels, rows, columns] = pixels.dims();
        let expected = [self.config.num_frames, channels, height, width];
        if [frames, channels, rows, columns] != expected {
            let found = format!("{:?}", [frames, channels, rows, columns]);
            return Err(refused("pixel_values", &format!("clips of shape {expected:?}"), &found));
        }
        let hidden = match &self.head {
            Some(VideoMaeHead::Classification(_)) => None,
            _ => self.hidden(inputs, batch)?,
        };
        let states = self.encoder.forward(VideoMaeInput { pixels: pixels.clone(), hidden: hidden.clone() });
        let last = self.encoder.normed(states[states.len() - 1].clone());
        let outputs = match &self.head {
            // As the classifier reads it.
            None => {
                let mean = last.clone().mean_dim(1).squeeze_dim::<2>(1);
                Outputs::new().with("last_hidden_state", last).with(clip_embedder::OUTPUT, mean)
            }
            Some(VideoMaeHead::PreTraining(decoder)) => self.drawn(decoder, last, pixels, hidden)?,
            Some(VideoMaeHead::Classification(head)) => {
                let logits = head.forward(last);
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
        };
        Ok(outputs.with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use florin_encoders::Sides;

    use super::*;

    #[test]
    fn older_checkpoints_keep_biases_beside_the_layers() {
        let names = Names::new(NAMES).with_prefix("videomae.").and(OLDER_NAMES);
        let name = |own| names.locate(own).name;
        let layer = "videomae.encoder.layer.3.attention.attention";
        assert_eq!(name("encoder.layers.3.attention.query.bias"), format!("{layer}.q_bias"));
        assert_eq!(name("encoder.layers.3.attention.query.weight"), format!("{layer}.query.weight"));
        let decoder = "decoder.decoder_layers.0.attention.attention.v_bias";
        assert_eq!(name("head.layers.0.attention.value.bias"), decoder);
        assert_eq!(name("head.mean_norm.weight"), "fc_norm.weight");
    }

    #[test]
    fn clips_and_masks_that_do_not_fit_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let sizes = VideoMaeConfig { image_size: Sides::Square(4), patch_size: Sides::Square(2), ..Default::default() };
        let sizes = VideoMaeConfig { num_frames: 2, num_channels: 1, hidden_size: 8, num_attention_heads: 2, ..sizes };
        let config = VideoMaeConfig { num_hidden_layers: 1, intermediate_size: 8, ..sizes };
        let model = VideoMae { encoder: config.init(&device).unwrap(), head: None, config };
        let clip = |shape: [usize; 5]| {
            Inputs::new(&device).floats("pixel_values", &shape, vec![0.0; shape.iter().product::<usize>()])
        };
        let error = |inputs: Inputs| model.forward(&inputs).unwrap_err().to_string();
        assert!(error(clip([1, 2, 3, 4, 4])).contains("expected 1 channels in the third dimension, found 3"));
        assert!(error(clip([1, 4, 1, 4, 4])).contains("clips of shape [2, 1, 4, 4], found [4, 1, 4, 4]"));
        let hide = |marks: Vec<i64>| clip([2, 2, 1, 4, 4]).whole("bool_masked_pos", &[2, marks.len() / 2], marks);
        assert!(error(hide(vec![1, 0, 0, 0, 0, 0, 0, 0])).contains("as many hidden tubelets in every row"));
        assert!(error(hide(vec![0, 1, 0, 1])).contains("expected shape [2, 4], found [2, 2]"));
        assert!(model.forward(&hide(vec![1, 0, 0, 0, 0, 0, 1, 0])).is_ok());
    }
}
