//! Multimodal models for finance, on a laptop's processor or a graphics card, with nothing leaving the machine.
//!
//! This crate gathers Florin's layers under one name; each is a crate of its own and can be imported alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`backend`] | devices by name, and the tensor operations that every model calls |
//! | [`nn`] | layers, attention, transformer blocks, [`nn::Tokens`] and [`nn::Mask`] |
//! | [`encoders`] | text, layout and image encoders |
//! | [`fusion`] | several modalities into one |
//! | [`losses`] | losses with named parts |
//! | [`data`] | documents, OCR lines, pictures, tables, splits |
//! | [`models`] | composed systems and checkpoints in the Hugging Face layout |
//! | [`train`] | the training loop |
//! | [`finance`] | tasks: receipts |
//!
//! ```
//! use florin::finance::receipts::drawn::{Templates, draw_one};
//!
//! let receipt = draw_one(7, 0, Templates::Training);
//! assert!(!receipt.document.lines.is_empty());
//! ```

pub use burn::tensor;
pub use florin_backend as backend;
pub use florin_data as data;
pub use florin_encoders as encoders;
pub use florin_finance as finance;
pub use florin_fusion as fusion;
pub use florin_losses as losses;
pub use florin_models as models;
pub use florin_nn as nn;
pub use florin_train as train;
