//! Log-mels: pictures of sounds, as the models that were trained on them want them.
//!
//! Each model has its own: [`WhisperLogMel`], [`AstLogMel`] and [`ClapLogMel`] are what transformers' feature extractors of those
//! names compute in numpy, with the settings of a checkpoint's `preprocessor_config.json`.

mod ast;
mod clap;
mod whisper;

pub use ast::{AstLogMel, AstLogMelConfig};
pub use clap::{ClapLogMel, ClapLogMelConfig, ClapPadding, ClapTruncation};
pub use whisper::{WhisperLogMel, WhisperLogMelConfig};

use crate::DataError;

/// A sound as a model wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Checks sizes of a file that anybody may have written: name, found, least, most.
fn check_sizes(extractor: &str, sizes: &[(&str, usize, usize, usize)]) -> Result<(), DataError> {
    match sizes.iter().find(|(_, found, least, most)| !(least..=most).contains(&found)) {
        Some((name, found, least, most)) => {
            Err(DataError::sound(format!("{extractor}: {name} must lie between {least} and {most}, found {found}")))
        }
        None => Ok(()),
    }
}

/// The most values of a log-mel, as a gigabyte holds them; for `check_sizes`.
const MOST_VALUES: usize = 1 << 28;

/// Refuses a sound that is none.
fn check_samples(samples: &[f32]) -> Result<(), DataError> {
    if samples.is_empty() {
        return Err(DataError::sound("it is empty, expected at least one sample"));
    }
    match samples.iter().position(|sample| !sample.is_finite()) {
        Some(place) => Err(DataError::sound(format!("sample {place} is {}, expected a number", samples[place]))),
        None => Ok(()),
    }
}
