//! Composed systems, presets and checkpoints.
//!
//! Architectures of one modality live in `florin-encoders`; here they become systems that open from a folder in the Hugging
//! Face layout (`config.json`, `model.safetensors`, tokenizer) and are written back to one. One file a system: [`open`] finds the
//! one that a folder holds, and [`System`] calls it with named tensors as transformers would.

pub mod system;

pub mod beit;
pub mod bert;
pub mod chinese_clip;
pub mod clap;
pub mod clip;
pub mod deit;
pub mod dinov2;
pub mod distilbert;
pub mod document;
pub mod ft_transformer;
pub mod image_heads;
pub mod image_model;
pub mod layoutlm;
pub mod lilt;
pub mod modern_bert;
pub mod open_clip;
pub mod patch_tst;
pub mod roberta;
pub mod siglip;
pub mod spectrogram_transformer;
pub mod table_mlp;
pub mod temporal_convolution;
pub mod time_sformer;
mod timm_vit;
pub mod video_mae;
pub mod vit;
pub mod vit_mae;
pub mod whisper;

pub mod beside;
pub mod checkpoint;
pub mod clip_embedder;
pub mod embedding_run;
pub mod hub;
pub mod image_embedder;
pub mod inspect;
pub mod names;
pub mod presets;
pub mod sentence;
pub mod sound_embedder;
pub mod text_embedder;
pub mod text_heads;
pub mod text_model;
pub mod verify;
pub mod weights;
pub mod zero_shot;

mod classes;
mod clips;
mod fingerprint;
mod loss;
mod marks;
mod mismatch;
mod named_tensors;
mod pairs;
mod problem;
mod table;
mod whisper_ctranslate2;
mod words;

pub use clip_embedder::ClipEmbedder;
pub use fingerprint::fingerprint;
pub use florin_nn::WeightFormat;
pub use image_embedder::ImageEmbedder;
pub use mismatch::Mismatch;
pub use named_tensors::{Input, Inputs, Numbers, Output, Outputs, Whole};
pub use pairs::Similarity;
pub use sound_embedder::SoundEmbedder;
pub use system::{Precision, System, Wanted, open};
pub use text_embedder::{TextEmbedder, TextRules};
pub use verify::verify;
pub use zero_shot::ZeroShot;

use std::path::PathBuf;

/// What can go wrong between a model and its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A weights file is damaged.
    #[error("{path}: not a readable weights file: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A configuration is damaged.
    #[error("{path}: not the expected configuration: {reason}")]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The tensors of a file are not those of the model.
    #[error("{path}: {mismatch}")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Everything that does not fit.
        mismatch: Mismatch,
    },
    /// A file of inputs and outputs that a system cannot be compared with.
    #[error("{path}: {reason}")]
    Reference {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Weights that no model can compute with.
    #[error("{path}: weights are NaN or infinite: {tensors}")]
    NotFinite {
        /// Which file.
        path: PathBuf,
        /// The first tensors, each with how many of its numbers.
        tensors: String,
    },
    /// A tokenizer gives ids that the model has no embedding for.
    #[error("{path}: the largest id is {largest}, expected below the model's vocabulary of {vocabulary}")]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its largest id.
        largest: u64,
        /// Ids that the model knows.
        vocabulary: usize,
    },
    /// An input that a system cannot take.
    #[error("input {name}: expected {expected}, found {found}")]
    Input {
        /// Its name.
        name: String,
        /// What would be taken.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A tensor has a number format that is not read.
    #[error("{path}: tensor {name} holds {found}, expected {expected}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
        /// Formats that are read.
        expected: &'static str,
        /// Format in the file.
        found: String,
    },
    /// Sizes that cannot be built.
    #[error(transparent)]
    Encoder(#[from] florin_encoders::ConfigError),
    /// A fusion that cannot be built.
    #[error(transparent)]
    Fusion(#[from] florin_fusion::ConfigError),
    /// Other sizes that cannot be built.
    #[error("document model: {0}")]
    Document(String),
    /// A preset that does not exist.
    #[error("no model is called `{found}`; known: {known}")]
    UnknownPreset {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// Pretrained weights could not be brought.
    #[error("cannot pull {name}: {reason}")]
    Pull {
        /// Which model.
        name: String,
        /// Why, for every source tried.
        reason: String,
    },
    /// A file is not the one that was promised.
    #[error("{path}: sha256 is {found}, expected {expected}")]
    Checksum {
        /// Which file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A file of the data layer.
    #[error(transparent)]
    Data(#[from] florin_data::DataError),
}

impl ModelError {
    /// The error of tensors with numbers that are none; the first few are named.
    fn not_finite(path: &std::path::Path, mut tensors: Vec<String>) -> Self {
        // A parameter that is a part of a tensor asks for it again.
        tensors.dedup();
        let count = tensors.len();
        tensors.truncate(5);
        let more = if count > tensors.len() { ", and more" } else { "" };
        Self::NotFinite { path: path.into(), tensors: format!("{}{more}", tensors.join(", ")) }
    }
}
