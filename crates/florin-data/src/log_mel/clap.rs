//! CLAP's log-mel: ten seconds in decibels, short sounds repeated until they fill them.
//!
//! Paper: Wu et al. 2022, <https://arxiv.org/abs/2211.06687>
//! Difference: where transformers draws the part of a long sound that is read, the caller says where it begins; the mixture of four
//! parts of a long sound (`fusion`) is not made.

use serde::{Deserialize, Serialize};

use super::{LogMel, MOST_VALUES, check_samples, check_sizes};
use crate::DataError;
use crate::mel_filters::{MelFilters, MelFiltersConfig, MelScale};
use crate::spectrogram::{Spectrogram, SpectrogramConfig, hann, reflected};

/// The least power whose logarithm is taken.
const FLOOR: f64 = 1e-10;
/// Pictures of a sound under [`ClapTruncation::Fusion`].
const PICTURES: usize = 4;

/// Settings, under the names of `preprocessor_config.json` and with transformers' defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClapLogMelConfig {
    /// Mel bands.
    pub feature_size: usize,
    /// Samples a second.
    pub sampling_rate: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Seconds to which a sound is filled up or cut.
    pub max_length_s: usize,
    /// Samples of a frame.
    pub fft_window_size: usize,
    /// Where the first filter begins, in hertz.
    pub frequency_min: f64,
    /// Where the last filter ends, in hertz.
    pub frequency_max: f64,
    /// What is read of a long sound.
    pub truncation: ClapTruncation,
    /// How a short sound is filled up.
    pub padding: ClapPadding,
}

/// What is read of a long sound; the filters follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClapTruncation {
    /// Four pictures of different parts, through HTK's filters; of a sound that is not longer, four times the same.
    Fusion,
    /// One part, through Slaney's filters.
    RandTrunc,
}

/// How a short sound is filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClapPadding {
    /// Repeated as often as all of it fits, then zeros.
    RepeatPad,
    /// Repeated to the end, the last time cut.
    Repeat,
    /// Zeros.
    Pad,
}

/// Computes log-mels.
pub struct ClapLogMel {
    config: ClapLogMelConfig,
    spectrogram: Spectrogram,
    filters: MelFilters,
}

impl Default for ClapLogMelConfig {
    fn default() -> Self {
        Self {
            feature_size: 64,
            sampling_rate: 48_000,
            hop_length: 480,
            max_length_s: 10,
            fft_window_size: 1024,
            frequency_min: 0.0,
            frequency_max: 14_000.0,
            truncation: ClapTruncation::Fusion,
            padding: ClapPadding::RepeatPad,
        }
    }
}

impl ClapLogMelConfig {
    /// Plans the transform.
    pub fn init(&self) -> Result<ClapLogMel, DataError> {
        let sizes = [
            ("feature_size", self.feature_size, 1, 4_096),
            ("sampling_rate", self.sampling_rate, 2, 1_000_000),
            ("hop_length", self.hop_length, 1, 1_000_000),
            ("max_length_s", self.max_length_s, 1, 3_600),
            ("fft_window_size", self.fft_window_size, 2, 65_536),
            ("samples of a sound", self.samples(), self.fft_window_size / 2 + 1, 1 << 28),
            ("values of a sound", self.values(), 1, MOST_VALUES / PICTURES),
        ];
        check_sizes("clap", &sizes)?;
        let (lowest, highest) = (self.frequency_min, self.frequency_max);
        if !(lowest >= 0.0 && lowest < highest && highest.is_finite()) {
            return Err(DataError::sound(format!("clap: no filters lie between {lowest} and {highest} Hz")));
        }
        let is_fusion = self.truncation == ClapTruncation::Fusion;
        let filters = MelFilters::new(&MelFiltersConfig {
            bins: self.fft_window_size / 2 + 1,
            bands: self.feature_size,
            lowest,
            highest,
            rate: self.sampling_rate,
            scale: if is_fusion { MelScale::Htk } else { MelScale::Slaney },
            area_norm: !is_fusion,
            straight_in_mels: false,
        });
        let (hop, transform) = (self.hop_length, self.fft_window_size);
        let window = hann(self.fft_window_size, true);
        let spectrogram =
            Spectrogram::new(SpectrogramConfig { window, hop, transform, without_mean: false, emphasis: None });
        Ok(ClapLogMel { config: self.clone(), spectrogram, filters })
    }

    fn samples(&self) -> usize {
        self.max_length_s.saturating_mul(self.sampling_rate)
    }

    fn values(&self) -> usize {
        (self.samples() / self.hop_length.max(1) + 1).saturating_mul(self.feature_size)
    }
}

impl ClapLogMel {
    /// Samples a second.
    pub fn rate(&self) -> usize {
        self.config.sampling_rate
    }

    /// The most samples that are read of a sound.
    pub fn most_samples(&self) -> usize {
        self.config.samples()
    }

    /// `[pictures, frames, bands]`, the input `input_features` of one sound: one picture, or four under [`ClapTruncation::Fusion`].
    ///
    /// `begin` is the first sample that is read of a sound that is too long, and has no meaning for others.
    pub fn extract(&mut self, samples: &[f32], begin: usize) -> Result<LogMel, DataError> {
        let whole = self.most_samples();
        let is_fusion = self.config.truncation == ClapTruncation::Fusion;
        if samples.len() <= whole {
            check_samples(samples)?;
            let filled = self.filled(samples, whole);
            return Ok(self.pictures(&filled));
        }
        // transformers makes no mixture of a sound that has no frame more.
        if is_fusion && samples.len() / self.config.hop_length > whole / self.config.hop_length {
            let reason = format!("it has {} samples, expected at most {whole} under `fusion`", samples.len());
            return Err(DataError::sound(reason));
        }
        if is_fusion {
            check_samples(samples)?;
            return Ok(self.pictures(samples));
        }
        if begin > samples.len() - whole {
            let (last, found) = (samples.len() - whole, samples.len());
            return Err(DataError::sound(format!(
                "{whole} of {found} samples begin at {last} or before, found {begin}"
            )));
        }
        let part = &samples[begin..begin + whole];
        check_samples(part)?;
        Ok(self.pictures(part))
    }

    fn filled(&self, samples: &[f32], whole: usize) -> Vec<f32> {
        let times = match self.config.padding {
            ClapPadding::Pad => 1,
            ClapPadding::RepeatPad => whole / samples.len(),
            ClapPadding::Repeat => whole / samples.len() + 1,
        };
        let mut filled: Vec<f32> = samples.iter().copied().cycle().take((samples.len() * times).min(whole)).collect();
        filled.resize(whole, 0.0);
        filled
    }

    fn pictures(&mut self, samples: &[f32]) -> LogMel {
        let padded = reflected(samples, self.config.fft_window_size / 2);
        let (frames, bands) = (self.spectrogram.frames(padded.len()), self.filters.len());
        let mut values = Vec::with_capacity(frames * bands);
        for frame in 0..frames {
            let power = self.spectrogram.power(&padded, frame);
            values.extend(self.filters.apply(power).map(|power| (10.0 * power.max(FLOOR).log10()) as f32));
        }
        let pictures = if self.config.truncation == ClapTruncation::Fusion { PICTURES } else { 1 };
        LogMel { shape: vec![pictures, frames, bands], values: values.repeat(pictures) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_sound_is_repeated_whole_and_a_long_one_cut_where_the_caller_says() {
        let sizes = ClapLogMelConfig { sampling_rate: 10, max_length_s: 1, fft_window_size: 4, ..Default::default() };
        let config = ClapLogMelConfig { hop_length: 2, feature_size: 1, frequency_max: 5.0, ..sizes };
        let config = ClapLogMelConfig { truncation: ClapTruncation::RandTrunc, ..config };
        let filled =
            |padding| ClapLogMelConfig { padding, ..config.clone() }.init().unwrap().filled(&[1.0, 2.0, 3.0, 4.0], 10);
        assert_eq!(filled(ClapPadding::RepeatPad), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(filled(ClapPadding::Repeat), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
        assert_eq!(filled(ClapPadding::Pad), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let mut extractor = config.init().unwrap();
        let long: Vec<f32> = (0..14).map(|sample| (sample * sample % 7) as f32).collect();
        let part = extractor.extract(&long, 3).unwrap();
        assert_eq!(part.shape, [1, 6, 1]);
        assert_eq!(part, extractor.extract(&long[3..13], 0).unwrap());
        let error = extractor.extract(&long, 5).unwrap_err().to_string();
        assert!(error.contains("10 of 14 samples begin at 4 or before, found 5"), "{error}");
        let mut fusion = ClapLogMelConfig { truncation: ClapTruncation::Fusion, ..config }.init().unwrap();
        assert!(fusion.extract(&long, 0).unwrap_err().to_string().contains("at most 10 under `fusion`"));
        assert_eq!(fusion.extract(&long[..4], 0).unwrap().shape, [4, 6, 1]);
    }

    #[test]
    fn silence_is_at_the_floor() {
        let mut extractor = ClapLogMelConfig::default().init().unwrap();
        let silence = extractor.extract(&[0.0; 9], 0).unwrap();
        assert_eq!(silence.shape, [4, 1001, 64]);
        assert!(silence.values.iter().all(|&value| value == -100.0));
        assert!(extractor.extract(&[], 0).unwrap_err().to_string().contains("it is empty"));
    }
}
