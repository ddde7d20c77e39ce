//! What a document model is made of, as written to and read from `config.json`.

use std::path::Path;

use florin_encoders::{BertConfig, LayoutConfig, VitConfig};
use florin_fusion::{ConfigError, FusionConfig};
use florin_nn::Modality;
use serde::{Deserialize, Serialize};

use super::PRINT_FEATURES;
use crate::ModelError;

/// What the text encoder reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextContext {
    /// A line, alone: for an encoder that does not learn, whose vectors are then computed once a line.
    Line,
    /// The whole document, in windows where it is longer than the encoder has positions.
    Document,
}

/// Sizes and streams of a document model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentConfig {
    /// Always `florin-document`: a folder says what it holds.
    pub model_type: String,
    /// Names of the fields that the head tags, in order.
    pub fields: Vec<String>,
    /// The text stream.
    pub text: BertConfig,
    /// What the text encoder reads at once.
    pub text_context: TextContext,
    /// Hidden states of the text encoder that are put side by side, counted from the embeddings (0) up.
    pub text_states: Vec<usize>,
    /// The layout stream, where there is one; without it, words know only their order.
    pub layout: Option<LayoutConfig>,
    /// The image stream, where there is one.
    pub image: Option<VitConfig>,
    /// How the streams of a word are fused: a name of [`FusionConfig::KINDS`]; files from before there was a choice name none.
    #[serde(default = "usual_fusion")]
    pub fusion_kind: String,
    /// Width of the fused words.
    pub dim: usize,
    /// Attention heads over modalities and over words; divides `dim`.
    pub heads: usize,
    /// Transformer blocks over the fused words of a document.
    pub blocks: usize,
    /// Buckets of the relative distance between two words, in each direction.
    pub distance_buckets: usize,
    /// Longest field in words.
    pub longest_span: usize,
    /// Words read at once; longer documents are read in overlapping windows.
    pub window: usize,
    /// Word pieces kept of each word.
    pub pieces_per_word: usize,
    /// Dropout on the streams and on the fused words, in training.
    pub dropout: f64,
}

impl DocumentConfig {
    /// The usual sizes around a text encoder: layout and image streams, two blocks of width 256.
    pub fn new(fields: Vec<String>, text: BertConfig) -> Self {
        Self {
            model_type: "florin-document".into(),
            fields,
            text_context: TextContext::Document,
            text_states: vec![text.num_hidden_layers],
            text,
            layout: Some(LayoutConfig { bins: 128, lines: 64, words: 16, print_features: PRINT_FEATURES, dim: 192 }),
            image: Some(VitConfig {
                height: 512,
                width: 256,
                patch: 16,
                channels: 1,
                dim: 128,
                layers: 2,
                heads: 4,
                hidden: 256,
                class_token: false,
                epsilon: 1e-6,
            }),
            fusion_kind: usual_fusion(),
            dim: 256,
            heads: 8,
            blocks: 2,
            distance_buckets: 32,
            longest_span: 48,
            window: 384,
            pieces_per_word: 6,
            dropout: 0.15,
        }
    }

    /// The streams and their widths, text first.
    pub fn streams(&self) -> Vec<(Modality, usize)> {
        let mut streams = vec![(Modality::Text, self.dim)];
        streams.extend(self.layout.as_ref().map(|layout| (Modality::Layout, layout.dim)));
        streams.extend(self.image.as_ref().map(|image| (Modality::Image, image.dim)));
        streams
    }

    /// The fusion of those streams, with its kind's usual settings.
    pub fn fusion(&self) -> Result<FusionConfig, ConfigError> {
        FusionConfig::usual(&self.fusion_kind, self.streams(), self.dim, self.heads)
    }

    /// Width of a word's text before it is projected.
    pub fn text_width(&self) -> usize {
        self.text_states.len() * self.text.hidden_size
    }

    /// Refuses what cannot be built, before anything is allocated.
    pub fn validate(&self) -> Result<(), ModelError> {
        self.text.validate()?;
        self.layout.as_ref().map_or(Ok(()), LayoutConfig::validate)?;
        self.image.as_ref().map_or(Ok(()), VitConfig::validate)?;
        self.fusion()?.validate()?;
        let sizes = [
            ("fields", self.fields.len(), 1, 1_000),
            ("dim", self.dim, 1, 16_384),
            ("blocks", self.blocks, 0, 64),
            ("distance_buckets", self.distance_buckets, 8, 1_024),
            ("longest_span", self.longest_span, 1, 1_024),
            ("window", self.window, 8, 1_024),
            ("pieces_per_word", self.pieces_per_word, 1, 64),
        ];
        for (name, found, least, most) in sizes {
            if !(least..=most).contains(&found) {
                let message = format!("{name} must lie between {least} and {most}, found {found}");
                return Err(ModelError::Document(message));
            }
        }
        let states = self.text.num_hidden_layers;
        if self.text_states.is_empty() || self.text_states.iter().any(|state| *state > states) {
            let message =
                format!("text_states must name some of the states 0 to {states}, found {:?}", self.text_states);
            return Err(ModelError::Document(message));
        }
        if self.text.max_position_embeddings < self.pieces_per_word + 2 {
            let positions = self.text.max_position_embeddings;
            return Err(ModelError::Document(format!("text needs more than {positions} positions")));
        }
        if let Some(layout) = self.layout.as_ref().filter(|layout| layout.print_features != PRINT_FEATURES) {
            let found = layout.print_features;
            return Err(ModelError::Document(format!("print_features must be {PRINT_FEATURES}, found {found}")));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ModelError::Document(format!("dropout must lie in [0, 1), found {}", self.dropout)));
        }
        Ok(())
    }

    /// Reads and validates a `config.json`.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::File { path: path.into(), source })?;
        let damaged = |reason: String| ModelError::Configuration { path: path.into(), reason };
        let config: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if config.model_type != "florin-document" {
            return Err(damaged(format!("model_type must be florin-document, found {}", config.model_type)));
        }
        config.validate()?;
        Ok(config)
    }
}

fn usual_fusion() -> String {
    "token_attention".to_owned()
}
