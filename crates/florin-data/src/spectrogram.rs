//! The power of each frequency in short frames of a sound.
//!
//! Everything is computed in f64 and each transform's numbers are rounded to f32 once, where transformers' `audio_utils.spectrogram`
//! rounds them: what comes after are logarithms of numbers that may be tiny, and checkpoints expect those of that code.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// How frames are cut and prepared.
#[derive(Clone, Debug)]
pub struct SpectrogramConfig {
    /// What each frame is multiplied by; its length is the frame's.
    pub window: Vec<f64>,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Length of the transform; a shorter frame is filled with zeros.
    pub transform: usize,
    /// Whether each frame's mean is taken from it.
    pub without_mean: bool,
    /// The share of each sample's predecessor that is taken from it: high tones are quiet in speech.
    pub emphasis: Option<f64>,
}

/// Computes spectra.
pub struct Spectrogram {
    config: SpectrogramConfig,
    transform: Arc<dyn RealToComplex<f64>>,
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    power: Vec<f64>,
}

/// Hann's window: a period of a cosine, or with `periodic` without the last of its two zeros.
pub fn hann(length: usize, periodic: bool) -> Vec<f64> {
    let span = (if periodic { length } else { length.saturating_sub(1) }).max(1) as f64;
    (0..length).map(|index| 0.5 - 0.5 * (2.0 * std::f64::consts::PI * index as f64 / span).cos()).collect()
}

/// The sound with so many samples mirrored at either end; the outermost samples are the mirrors and not repeated.
///
/// # Panics
///
/// If the sound is not longer than what is mirrored.
pub fn reflected(samples: &[f32], beyond: usize) -> Vec<f32> {
    assert!(samples.len() > beyond, "{} samples cannot be mirrored for {beyond}", samples.len());
    let before = samples[1..=beyond].iter().rev();
    let after = samples[samples.len() - 1 - beyond..samples.len() - 1].iter().rev();
    before.chain(samples).chain(after).copied().collect()
}

impl Spectrogram {
    /// Plans the transform.
    ///
    /// # Panics
    ///
    /// If a frame is empty or longer than the transform, or the hop is zero.
    pub fn new(config: SpectrogramConfig) -> Self {
        let length = config.window.len();
        assert!(length > 0 && length <= config.transform && config.hop > 0, "frames of {length} samples");
        let transform = RealFftPlanner::new().plan_fft_forward(config.transform);
        let (frame, spectrum) = (transform.make_input_vec(), transform.make_output_vec());
        let (scratch, power) = (transform.make_scratch_vec(), vec![0.0; spectrum.len()]);
        Self { config, transform, frame, spectrum, scratch, power }
    }

    /// How many whole frames a sound has.
    pub fn frames(&self, samples: usize) -> usize {
        let window = self.config.window.len();
        if samples < window { 0 } else { 1 + (samples - window) / self.config.hop }
    }

    /// The power of each frequency in one frame.
    ///
    /// # Panics
    ///
    /// If the sound has no such frame.
    pub fn power(&mut self, samples: &[f32], frame: usize) -> &[f64] {
        let (begin, length) = (frame * self.config.hop, self.config.window.len());
        self.frame.fill(0.0);
        for (own, &sample) in self.frame.iter_mut().zip(&samples[begin..begin + length]) {
            *own = f64::from(sample);
        }
        self.prepare(length);
        let (frame, spectrum, scratch) = (&mut self.frame, &mut self.spectrum, &mut self.scratch);
        self.transform.process_with_scratch(frame, spectrum, scratch).expect("the buffers are the plan's own");
        for (power, value) in self.power.iter_mut().zip(&self.spectrum) {
            let (real, imaginary) = (f64::from(value.re as f32), f64::from(value.im as f32));
            *power = real * real + imaginary * imaginary;
        }
        &self.power
    }

    fn prepare(&mut self, length: usize) {
        let frame = &mut self.frame[..length];
        if self.config.without_mean {
            let mean = frame.iter().sum::<f64>() / length as f64;
            frame.iter_mut().for_each(|sample| *sample -= mean);
        }
        if let Some(share) = self.config.emphasis {
            for index in (1..length).rev() {
                frame[index] -= share * frame[index - 1];
            }
            frame[0] *= 1.0 - share;
        }
        for (sample, factor) in frame.iter_mut().zip(&self.config.window) {
            *sample *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_power_at_its_frequency() {
        let config =
            SpectrogramConfig { window: vec![1.0; 32], hop: 8, transform: 32, without_mean: false, emphasis: None };
        let mut spectrogram = Spectrogram::new(config);
        let tone: Vec<f32> = (0..48).map(|step| (std::f32::consts::TAU * 5.0 * step as f32 / 32.0).cos()).collect();
        assert_eq!(spectrogram.frames(48), 3);
        assert_eq!([spectrogram.frames(31), spectrogram.frames(32), spectrogram.frames(39)], [0, 1, 1]);
        let power = spectrogram.power(&tone, 2);
        assert!((power[5] - 256.0).abs() < 1e-3, "half the frame's length, squared: {}", power[5]);
        assert!(power.iter().enumerate().all(|(bin, &power)| bin == 5 || power < 1e-6));
    }

    #[test]
    fn a_frame_loses_its_mean_first_and_is_emphasised_before_the_window() {
        let config =
            SpectrogramConfig { window: vec![2.0; 3], hop: 1, transform: 4, without_mean: true, emphasis: Some(0.5) };
        let mut spectrogram = Spectrogram::new(config);
        // 1, 2, 6 without their mean are -2, -1, 3; with half of what came before taken away -1, 0, 3.5; doubled, they add up to 5.
        assert_eq!(spectrogram.power(&[1.0, 2.0, 6.0], 0)[0], 25.0);
    }

    #[test]
    fn mirrors_do_not_repeat_the_ends_and_windows_are_hanns() {
        assert_eq!(reflected(&[1.0, 2.0, 3.0, 4.0], 2), [3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0]);
        let near = |found: Vec<f64>, expected: &[f64]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(hann(4, true), &[0.0, 0.5, 1.0, 0.5]));
        assert!(near(hann(5, false), &[0.0, 0.5, 1.0, 0.5, 0.0]));
    }
}
