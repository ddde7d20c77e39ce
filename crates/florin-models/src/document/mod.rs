//! The document model: text, layout and image of a page's words, fused, and tagged with the fields to read.
//!
//! `config` says which streams there are, `features` turns a document into numbers on the host, `batch` puts several of them on a device,
//! `model` computes scores and `spans` turns scores into probabilities of spans of words.

mod batch;
mod config;
mod features;
#[cfg(test)]
mod fusion_kinds;
mod model;
mod spans;
mod text_cache;

pub use batch::{DocumentBatch, WordText};
pub use config::{DocumentConfig, TextContext};
pub use features::{DocumentFeatures, FeatureExtractor, PRINT_FEATURES, PictureFeatures};
pub use model::{DocumentModel, DocumentOutput};
pub use spans::{Span, WordScores, spans};
pub use text_cache::TextCache;
