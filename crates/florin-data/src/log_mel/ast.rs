//! The log-mel of the Audio Spectrogram Transformer: Kaldi's, frame by frame, normalised by the mean and spread of a data set.
//!
//! Paper: Gong et al. 2021, <https://arxiv.org/abs/2104.01778>
//! Difference: a sound shorter than one frame is refused, where transformers makes padding of it.

use serde::{Deserialize, Serialize};

use super::{LogMel, MOST_VALUES, check_samples, check_sizes};
use crate::DataError;
use crate::mel_filters::{MelFilters, MelFiltersConfig, MelScale};
use crate::spectrogram::{Spectrogram, SpectrogramConfig, hann};

/// Samples of a frame, from one frame to the next, and of the transform; transformers has them in its code.
const FRAME: usize = 400;
const HOP: usize = 160;
const TRANSFORM: usize = 512;
/// Where the first filter begins, in hertz.
const LOWEST: f64 = 20.0;
/// The least power whose logarithm is taken: f32's epsilon, as in Kaldi.
const FLOOR: f64 = 1.192_092_955_078_125e-07;
/// The share of each sample's predecessor that is taken from it.
const EMPHASIS: f64 = 0.97;

/// Settings, under the names of `preprocessor_config.json` and with transformers' defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AstLogMelConfig {
    /// Samples a second.
    pub sampling_rate: usize,
    /// Mel bands.
    pub num_mel_bins: usize,
    /// Frames to which a sound is padded or cut.
    pub max_length: usize,
    /// Whether values are normalised, those of the padding too.
    pub do_normalize: bool,
    /// What is taken away; AudioSet's mean.
    pub mean: f64,
    /// Half of what is divided by; AudioSet's standard deviation.
    pub std: f64,
}

/// Computes log-mels.
pub struct AstLogMel {
    config: AstLogMelConfig,
    spectrogram: Spectrogram,
    filters: MelFilters,
}

impl Default for AstLogMelConfig {
    fn default() -> Self {
        Self {
            sampling_rate: 16_000,
            num_mel_bins: 128,
            max_length: 1024,
            do_normalize: true,
            mean: -4.2677393,
            std: 4.5689974,
        }
    }
}

impl AstLogMelConfig {
    /// Plans the transform.
    pub fn init(&self) -> Result<AstLogMel, DataError> {
        let sizes = [
            ("sampling_rate", self.sampling_rate, 64, 1_000_000),
            ("num_mel_bins", self.num_mel_bins, 1, 4_096),
            ("max_length", self.max_length, 1, 1_000_000),
            ("max_length times num_mel_bins", self.max_length.saturating_mul(self.num_mel_bins), 1, MOST_VALUES),
        ];
        check_sizes("audio-spectrogram-transformer", &sizes)?;
        if self.do_normalize && !(self.mean.is_finite() && self.std.is_finite() && self.std != 0.0) {
            let (mean, std) = (self.mean, self.std);
            return Err(DataError::sound(format!("mean {mean} and std {std} cannot be normalised by")));
        }
        let filters = MelFilters::new(&MelFiltersConfig {
            bins: 1 + TRANSFORM / 2,
            bands: self.num_mel_bins,
            lowest: LOWEST,
            highest: (self.sampling_rate / 2) as f64,
            rate: self.sampling_rate,
            scale: MelScale::Kaldi,
            area_norm: false,
            straight_in_mels: true,
        });
        let window = hann(FRAME, false);
        let spectrogram = Spectrogram::new(SpectrogramConfig {
            window,
            hop: HOP,
            transform: TRANSFORM,
            without_mean: true,
            emphasis: Some(EMPHASIS),
        });
        Ok(AstLogMel { config: self.clone(), spectrogram, filters })
    }
}

impl AstLogMel {
    /// Samples a second.
    pub fn rate(&self) -> usize {
        self.config.sampling_rate
    }

    /// The most samples that are read of a sound.
    pub fn most_samples(&self) -> usize {
        (self.config.max_length - 1) * HOP + FRAME
    }

    /// `[frames, bands]`, the input `input_values` of one sound.
    pub fn extract(&mut self, samples: &[f32]) -> Result<LogMel, DataError> {
        let (whole, bands) = (self.config.max_length, self.filters.len());
        let samples = &samples[..samples.len().min(self.most_samples())];
        check_samples(samples)?;
        let frames = self.spectrogram.frames(samples.len());
        if frames == 0 {
            let reason = format!("it has {} samples, expected at least {FRAME}, one frame", samples.len());
            return Err(DataError::sound(reason));
        }
        let mut values = Vec::with_capacity(whole * bands);
        for frame in 0..frames {
            let power = self.spectrogram.power(samples, frame);
            values.extend(self.filters.apply(power).map(|power| power.max(FLOOR).ln() as f32));
        }
        values.resize(whole * bands, 0.0);
        if self.config.do_normalize {
            let (mean, spread) = (self.config.mean as f32, (self.config.std * 2.0) as f32);
            values.iter_mut().for_each(|value| *value = (*value - mean) / spread);
        }
        Ok(LogMel { shape: vec![whole, bands], values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_normalised_and_long_sounds_are_cut() {
        let mut extractor = AstLogMelConfig { max_length: 5, ..Default::default() }.init().unwrap();
        let short = extractor.extract(&[0.25; 561]).unwrap();
        assert_eq!(short.shape, [5, 128]);
        let padding = 4.2677393f32 / (4.5689974 * 2.0) as f32;
        assert!(short.values[2 * 128..].iter().all(|&value| value == padding));
        // A constant is nothing but its mean.
        let floor = (FLOOR.ln() as f32 + 4.2677393) / (4.5689974f64 * 2.0) as f32;
        assert!(short.values[..2 * 128].iter().all(|&value| value == floor));
        assert_eq!(extractor.extract(&[0.25; 100_000]).unwrap().values, vec![floor; 5 * 128]);
    }

    #[test]
    fn a_sound_shorter_than_a_frame_is_refused() {
        let mut extractor = AstLogMelConfig::default().init().unwrap();
        let error = extractor.extract(&[0.5; 399]).unwrap_err().to_string();
        assert_eq!(error, "cannot use this sound: it has 399 samples, expected at least 400, one frame");
        assert!(extractor.extract(&[]).unwrap_err().to_string().contains("it is empty"));
    }
}
