//! Whisper's log-mel: 30 seconds, whatever the sound's length, and nothing more than 80 dB below the loudest.
//!
//! Paper: Radford et al. 2022, <https://arxiv.org/abs/2212.04356>
//! Difference: none from transformers' extractor without PyTorch; with PyTorch it computes in f32 and differs from itself in the fifth digit.

use serde::{Deserialize, Serialize};

use super::{LogMel, MOST_VALUES, check_samples, check_sizes};
use crate::DataError;
use crate::mel_filters::{MelFilters, MelFiltersConfig, MelScale};
use crate::spectrogram::{Spectrogram, SpectrogramConfig, hann, reflected};

/// The least power whose logarithm is taken.
const FLOOR: f64 = 1e-10;
/// How far below the loudest a value may be, in powers of ten.
const RANGE: f32 = 8.0;
/// Where the last filter ends, in hertz.
const HIGHEST: f64 = 8_000.0;

/// Settings, under the names of `preprocessor_config.json` and with transformers' defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhisperLogMelConfig {
    /// Mel bands.
    pub feature_size: usize,
    /// Samples a second.
    pub sampling_rate: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Seconds to which a sound is padded or cut.
    pub chunk_length: usize,
    /// Samples of a frame.
    pub n_fft: usize,
    /// What stands behind a sound that is shorter.
    pub padding_value: f32,
}

/// Computes log-mels.
pub struct WhisperLogMel {
    config: WhisperLogMelConfig,
    spectrogram: Spectrogram,
    filters: MelFilters,
}

impl Default for WhisperLogMelConfig {
    fn default() -> Self {
        Self {
            feature_size: 80,
            sampling_rate: 16_000,
            hop_length: 160,
            chunk_length: 30,
            n_fft: 400,
            padding_value: 0.0,
        }
    }
}

impl WhisperLogMelConfig {
    /// Plans the transform.
    pub fn init(&self) -> Result<WhisperLogMel, DataError> {
        let sizes = [
            ("feature_size", self.feature_size, 1, 4_096),
            ("sampling_rate", self.sampling_rate, 2, 1_000_000),
            ("hop_length", self.hop_length, 1, 1_000_000),
            ("chunk_length", self.chunk_length, 1, 3_600),
            ("n_fft", self.n_fft, 2, 65_536),
            ("samples of a chunk", self.chunk_length.saturating_mul(self.sampling_rate), self.n_fft / 2 + 1, 1 << 28),
            ("hop_length below the samples of a chunk", self.hop_length, 1, self.samples()),
            ("values of a chunk", self.values(), 1, MOST_VALUES),
        ];
        check_sizes("whisper", &sizes)?;
        if !self.padding_value.is_finite() {
            return Err(DataError::sound("whisper: padding_value is not a number"));
        }
        let filters = MelFilters::new(&MelFiltersConfig {
            bins: 1 + self.n_fft / 2,
            bands: self.feature_size,
            lowest: 0.0,
            highest: HIGHEST,
            rate: self.sampling_rate,
            scale: MelScale::Slaney,
            area_norm: true,
            straight_in_mels: false,
        });
        let (hop, transform) = (self.hop_length, self.n_fft);
        let window = hann(self.n_fft, true);
        let spectrogram =
            Spectrogram::new(SpectrogramConfig { window, hop, transform, without_mean: false, emphasis: None });
        Ok(WhisperLogMel { config: self.clone(), spectrogram, filters })
    }

    fn samples(&self) -> usize {
        self.chunk_length.saturating_mul(self.sampling_rate)
    }

    fn values(&self) -> usize {
        (self.samples() / self.hop_length.max(1)).saturating_mul(self.feature_size)
    }
}

impl WhisperLogMel {
    /// Samples a second.
    pub fn rate(&self) -> usize {
        self.config.sampling_rate
    }

    /// The most samples that are read of a sound.
    pub fn most_samples(&self) -> usize {
        self.config.samples()
    }

    /// `[bands, frames]`, the input `input_features` of one sound.
    pub fn extract(&mut self, samples: &[f32]) -> Result<LogMel, DataError> {
        let whole = self.most_samples();
        let samples = &samples[..samples.len().min(whole)];
        check_samples(samples)?;
        let mut padded = samples.to_vec();
        padded.resize(whole, self.config.padding_value);
        let padded = reflected(&padded, self.config.n_fft / 2);
        // The last frame, half of which is mirrored, is left out.
        let frames = self.spectrogram.frames(padded.len()) - 1;
        let bands = self.filters.len();
        let mut values = vec![0.0f32; bands * frames];
        for frame in 0..frames {
            let power = self.spectrogram.power(&padded, frame);
            for (band, power) in self.filters.apply(power).enumerate() {
                values[band * frames + frame] = power.max(FLOOR).log10() as f32;
            }
        }
        // Of the frame that is left out transformers has not seen the loudest either.
        let floor = values.iter().fold(f32::NEG_INFINITY, |most, &value| most.max(value)) - RANGE;
        values.iter_mut().for_each(|value| *value = (value.max(floor) + 4.0) / 4.0);
        Ok(LogMel { shape: vec![bands, frames], values })
    }

    /// Which frames are of a sound of so many samples, 1, and which of the padding behind it, 0: transformers' `attention_mask`.
    pub fn mask(&self, samples: usize) -> Vec<i64> {
        let frames = self.config.samples() / self.config.hop_length;
        (0..frames).map(|frame| i64::from(frame * self.config.hop_length < samples)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_flat_and_a_sound_has_3000_frames_whatever_its_length() {
        let mut extractor = WhisperLogMelConfig::default().init().unwrap();
        let silence = extractor.extract(&[0.0; 7]).unwrap();
        assert_eq!(silence.shape, [80, 3000]);
        assert!(silence.values.iter().all(|&value| value == -1.5), "(log10 of the floor + 4) / 4");
        let mask = extractor.mask(161);
        assert_eq!((mask.len(), mask.iter().sum::<i64>()), (3000, 2));
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        let mut extractor = WhisperLogMelConfig::default().init().unwrap();
        let error = extractor.extract(&[]).unwrap_err().to_string();
        assert_eq!(error, "cannot use this sound: it is empty, expected at least one sample");
        let error = extractor.extract(&[0.0, f32::NAN]).unwrap_err().to_string();
        assert_eq!(error, "cannot use this sound: sample 1 is NaN, expected a number");
        let error = WhisperLogMelConfig { hop_length: 0, ..Default::default() }.init().err().unwrap().to_string();
        assert!(error.contains("whisper: hop_length must lie between 1 and 1000000, found 0"), "{error}");
    }
}
