//! Documents, pictures, sounds, tables and text, as a model wants them.
//!
//! This crate knows nothing about tensors: it turns files that a user may have got wrong into plain, checked
//! values, or into a [`DataError`] that says what was expected, what was found, and where. Reading order:
//!
//! 1. [`document`]: a page as lines of text with boxes; [`words`]: the lines cut into the model's words.
//! 2. [`ocr`] and [`picture`]: where a document's lines and pixels come from.
//! 3. [`resample`] and [`image_processor`]: pixels exactly as a checkpoint was trained on them; [`clip`]: frames of moving pictures.
//! 4. [`value`]: dates, amounts and the key by which two values are compared; [`gold`]: where a value is printed.
//! 5. [`text_tokens`]: whole texts as ids; [`vectors`]: what a model made of them, written; [`vector_index`]: found again.
//! 6. [`table`] and [`labelled`]: a folder of labelled documents; [`split`]: folds that do not leak.
//! 7. [`log_mel`]: pictures of sounds, made of a [`spectrogram`] through [`mel_filters`]; `sound` and `sound_processor`: those of files.
//! 8. [`word_pieces`], [`masking`] and [`sampler`]: what a training loop asks for; [`files`]: writing that cannot half happen.
//! 9. [`guarded`]: other people's decoders.
//!
//! Nothing here panics on the content of a file.

pub mod document;
pub mod words;

pub mod clip;
pub mod image_processor;
pub mod ocr;
pub mod picture;
pub mod resample;

mod dates;
pub mod gold;
pub mod value;

pub mod labelled;
pub mod split;
pub mod table;
pub mod text_tokens;
#[cfg(feature = "search")]
pub mod vector_index;
pub mod vectors;

pub mod log_mel;
pub mod mel_filters;
#[cfg(feature = "audio")]
pub mod sound;
#[cfg(feature = "audio")]
pub mod sound_processor;
pub mod spectrogram;

pub mod files;
pub mod guarded;
pub mod masking;
pub mod sampler;
pub mod word_pieces;

mod error;
mod preprocessor;
mod tokenizer_file;

pub use error::DataError;
