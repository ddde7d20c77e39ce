//! Composed systems, presets and checkpoints.
//!
//! Architectures of one modality live in `florin-encoders`; here they become systems that open from a folder in the Hugging
//! Face layout (`config.json`, `model.safetensors`, tokenizer) and are written back to one. One file a system: [`open`] finds the
//! one that a folder holds, and [`System`] calls it with named tensors as transformers would.

pub mod system;

pub mod bert;
pub mod document;
pub mod ft_transformer;
pub mod patch_tst;
pub mod table_mlp;
pub mod temporal_convolution;
pub mod time_sformer;
pub mod video_mae;

pub mod checkpoint;
pub mod hub;
pub mod names;
pub mod weights;

mod clips;
mod loss;
mod marks;
mod mismatch;
mod named_tensors;
mod table;

pub use mismatch::Mismatch;
pub use named_tensors::{Input, Inputs, Numbers, Output, Outputs};
pub use system::{System, Wanted, open};

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
    /// The tensors of a file are not those of the model.
    #[error("{path}: {mismatch}")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Everything that does not fit.
        mismatch: Mismatch,
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
