//! Sounds as the numbers a checkpoint wants: the log-mel that its `preprocessor_config.json` names, of a file of any rate.
//!
//! A sound that is longer than the extractor's window is read from its beginning to the window's end. transformers' extractors of Whisper
//! and AST do the same; that of CLAP draws the part, which here is the first one, and mixes parts under `fusion`, which is not made.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::log_mel::{
    AstLogMel, AstLogMelConfig, ClapLogMel, ClapLogMelConfig, LogMel, WhisperLogMel, WhisperLogMelConfig,
};
use crate::{DataError, preprocessor, sound};

/// Prepares sounds.
pub struct SoundProcessor {
    extractor: Extractor,
}

/// What makes log-mels.
enum Extractor {
    Whisper(WhisperLogMel),
    Ast(AstLogMel),
    Clap(ClapLogMel),
}

/// The input of a model that a log-mel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundInput {
    /// transformers' name of it.
    pub name: &'static str,
    /// Its dimensions.
    pub dims: &'static str,
}

/// A prepared sound.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedSound {
    /// Its log-mel.
    pub log_mel: LogMel,
    /// Which frames are of the sound, 1, and which of the padding behind it, 0; not every model is told.
    pub frames: Option<Vec<i64>>,
    /// Whether all of it was read.
    pub is_whole: bool,
}

/// The one field that says what the others are.
#[derive(Deserialize)]
struct Kind {
    feature_extractor_type: Option<String>,
}

impl SoundProcessor {
    /// Reads a checkpoint's folder.
    pub fn of_folder(folder: &Path) -> Result<Self, DataError> {
        let (path, text) = preprocessor::read(folder, "read the feature extractor")?;
        Self::from_json(&path, &text)
    }

    /// Reads a configuration; `path` is for messages.
    pub fn from_json(path: &Path, text: &[u8]) -> Result<Self, DataError> {
        Self::read(text).map_err(|reason| DataError::Settings { path: path.into(), reason })
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        let settings: Value = preprocessor::settings(text, "feature_extractor")?;
        let Kind { feature_extractor_type } =
            serde_json::from_value(settings.clone()).map_err(|error| error.to_string())?;
        let kind = feature_extractor_type.as_deref();
        let extractor = match kind.and_then(|kind| kind.strip_suffix("FeatureExtractor")) {
            Some("Whisper") => config::<WhisperLogMelConfig>(settings)?.init().map(Extractor::Whisper),
            Some("AST") => config::<AstLogMelConfig>(settings)?.init().map(Extractor::Ast),
            Some("Clap") => config::<ClapLogMelConfig>(settings)?.init().map(Extractor::Clap),
            _ => {
                let known = "WhisperFeatureExtractor, ASTFeatureExtractor or ClapFeatureExtractor";
                let found = kind.map_or_else(|| "none".to_owned(), |kind| format!("`{kind}`"));
                return Err(format!("`feature_extractor_type` must be {known}, found {found}"));
            }
        };
        Ok(Self { extractor: extractor.map_err(|error| error.to_string())? })
    }

    /// The input of a model that takes what is prepared.
    pub fn input(&self) -> SoundInput {
        let (name, dims) = match &self.extractor {
            Extractor::Whisper(_) => ("input_features", "[batch, bands, frames]"),
            Extractor::Ast(_) => ("input_values", "[batch, frames, bands]"),
            Extractor::Clap(_) => ("input_features", "[batch, pictures, frames, bands]"),
        };
        SoundInput { name, dims }
    }

    /// Samples a second.
    pub fn rate(&self) -> usize {
        match &self.extractor {
            Extractor::Whisper(extractor) => extractor.rate(),
            Extractor::Ast(extractor) => extractor.rate(),
            Extractor::Clap(extractor) => extractor.rate(),
        }
    }

    /// The most samples that are read of a sound.
    pub fn most_samples(&self) -> usize {
        match &self.extractor {
            Extractor::Whisper(extractor) => extractor.most_samples(),
            Extractor::Ast(extractor) => extractor.most_samples(),
            Extractor::Clap(extractor) => extractor.most_samples(),
        }
    }

    /// A sound's file as the model's numbers: its channels averaged, at the extractor's rate.
    pub fn prepare_file(&mut self, path: &Path) -> Result<PreparedSound, DataError> {
        let rate = self.rate();
        let sound = sound::read(path, rate, self.most_samples().div_ceil(rate))?;
        let prepared = self.prepare(&sound.samples).map_err(|error| match error {
            DataError::Sound { reason } => DataError::SoundFile { path: path.into(), reason },
            other => other,
        })?;
        Ok(PreparedSound { is_whole: prepared.is_whole && sound.is_whole, ..prepared })
    }

    /// One channel of samples at the extractor's rate as the model's numbers.
    pub fn prepare(&mut self, samples: &[f32]) -> Result<PreparedSound, DataError> {
        let is_whole = samples.len() <= self.most_samples();
        let samples = &samples[..samples.len().min(self.most_samples())];
        let (log_mel, frames) = match &mut self.extractor {
            Extractor::Whisper(extractor) => (extractor.extract(samples)?, Some(extractor.mask(samples.len()))),
            Extractor::Ast(extractor) => (extractor.extract(samples)?, None),
            Extractor::Clap(extractor) => (extractor.extract(samples, 0)?, None),
        };
        Ok(PreparedSound { log_mel, frames, is_whole })
    }
}

fn config<T: serde::de::DeserializeOwned>(settings: Value) -> Result<T, String> {
    serde_json::from_value(settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(json: &str) -> Result<SoundProcessor, String> {
        SoundProcessor::from_json(Path::new("a.json"), json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_extractor_is_the_one_that_the_file_names_alone_or_as_a_part() {
        let whisper = r#"{"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 2, "hop_length": 160}"#;
        for json in [whisper.to_owned(), format!(r#"{{"feature_extractor": {whisper}, "processor_class": "X"}}"#)] {
            let mut found = processor(&json).unwrap();
            assert_eq!((found.rate(), found.most_samples()), (16_000, 32_000));
            let long = found.prepare(&[0.5; 32_001]).unwrap();
            assert_eq!((long.log_mel.shape, long.is_whole), (vec![80, 200], false));
            let short = found.prepare(&[0.5; 161]).unwrap();
            assert!(short.is_whole && short.frames.is_some_and(|frames| frames.iter().sum::<i64>() == 2));
        }
        let mut ast = processor(r#"{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 3}"#).unwrap();
        assert_eq!((ast.input().name, ast.most_samples()), ("input_values", 720));
        assert!(ast.prepare(&[0.5; 720]).unwrap().is_whole && !ast.prepare(&[0.5; 721]).unwrap().is_whole);
        let clap =
            r#"{"feature_extractor_type": "ClapFeatureExtractor", "max_length_s": 1, "truncation": "rand_trunc"}"#;
        let mut clap = processor(clap).unwrap();
        let (long, first) =
            (clap.prepare(&[&[0.5; 48_000][..], &[0.1; 9]].concat()).unwrap(), clap.prepare(&[0.5; 48_000]));
        assert_eq!((long.log_mel, long.is_whole), (first.unwrap().log_mel, false));
    }

    #[test]
    fn what_names_no_extractor_is_refused() {
        let error = processor("{}").err().unwrap();
        assert!(
            error.starts_with("cannot use the settings a.json: `feature_extractor_type` must be Whisper"),
            "{error}"
        );
        assert!(error.ends_with("found none"), "{error}");
        let error = processor(r#"{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}"#).err().unwrap();
        assert!(error.ends_with("found `Wav2Vec2FeatureExtractor`"), "{error}");
        let error = processor(r#"{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 0}"#).err().unwrap();
        assert!(error.contains("max_length must lie between 1 and 1000000, found 0"), "{error}");
        // Sizes that fit by themselves, and not together.
        for rest in [
            r#""ASTFeatureExtractor", "max_length": 1000000, "num_mel_bins": 4096"#,
            r#""WhisperFeatureExtractor", "hop_length": 1, "feature_size": 4096"#,
            r#""ClapFeatureExtractor", "hop_length": 1, "feature_size": 4096"#,
        ] {
            let error = processor(&format!(r#"{{"feature_extractor_type": {rest}}}"#)).err().unwrap();
            assert!(error.contains(" must lie between 1 and "), "{error}");
        }
        assert!(processor("[").is_err());
    }
}
