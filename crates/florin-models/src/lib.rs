//! Composed systems, presets and checkpoints.
//!
//! Architectures of one modality live in `florin-encoders`; here they become systems that open from a folder in the Hugging
//! Face layout (`config.json`, `model.safetensors`, tokenizer) and are written back to one.

pub mod bert;
pub mod checkpoint;
pub mod document;
pub mod hub;

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
    #[error("{path}: not a readable safetensors file: {reason}")]
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
    /// Tensors that the model needs are not in the file.
    #[error("{path}: {count} tensors of the model are missing, the first is {first}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// How many are missing.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The file holds tensors that the model does not know.
    #[error("{path}: {count} tensors are unknown to the model, the first is {first}")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// How many are unknown.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A tensor has another shape than the model's.
    #[error("{path}: tensor {name} has shape {found:?}, the model expects {expected:?}")]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor has a number format that is not read.
    #[error("{path}: tensor {name} holds {found}, expected F32, F16 or BF16")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
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
    #[error("no pretrained model is called `{found}`; known: {known}")]
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
